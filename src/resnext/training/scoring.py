"""Scores that the processes of a run count together, each image in one of them."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Protocol

import torch
from torch import Tensor

from resnext.data.dataset import Dataset
from resnext.data.loader import UnreadableError
from resnext.data.views import Selected
from resnext.evaluation.evaluate import LabelledBatch, Pixels, Pixels_co, Predict, count
from resnext.evaluation.metrics import Counts, Scores
from resnext.training.world import World


class PartlyRead(LabelledBatch[Pixels_co], Protocol[Pixels_co]):
    """A labelled batch that says which images could not be read."""

    @property
    def left_out(self) -> tuple[str, ...]:
        """A sentence for each image that could not be read."""
        ...


def score(
    world: World,
    predict: Predict[Pixels],
    dataset: Dataset,
    batches: Callable[[Dataset], Iterable[PartlyRead[Pixels]]],
    class_names: Sequence[str],
) -> tuple[Scores, tuple[str, ...]]:
    """Score `predict` on every readable image of a data set once, and say which could not be read.

    `batches` makes batches of the part of the data set that this process takes. Raises `ValueError` where there is no
    image, and `UnreadableError` where none can be read.
    """
    num_images = len(dataset.labels)
    left_out: list[str] = []

    def noted() -> Iterator[PartlyRead[Pixels]]:
        for batch in batches(Selected(dataset, range(world.rank, num_images, world.size))):
            left_out.extend(batch.left_out)
            yield batch

    counts = _total(world, count(predict, noted(), len(class_names)))
    everywhere = tuple(message for part in world.gather(tuple(left_out)) for message in part)
    assert counts.num_images + len(everywhere) == num_images, "an image was counted twice, or not at all"
    if everywhere and counts.num_images == 0:
        raise UnreadableError(f"none of {num_images} images to score can be read, the first: {everywhere[0]}")
    return Scores.of(counts, class_names), everywhere


def _total(world: World, counts: Counts) -> Counts:
    sums: Tensor = world.sum(torch.tensor([counts.num_top5_correct, counts.loss_sum], dtype=torch.float64))
    return Counts(world.sum(counts.confusion), int(sums[0]), float(sums[1]))
