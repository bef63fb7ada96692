"""Scores that the processes of a run count together, each image in one of them."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Protocol

import torch
from torch import Tensor

from resnext.data.dataset import Dataset
from resnext.data.loader import UnreadableError
from resnext.data.views import Selected
from resnext.evaluation.evaluate import Pixels, Pixels_co, Predict, count
from resnext.evaluation.metrics import Counts, Scores
from resnext.evaluation.outputs import NamedBatch, Outputs, collect
from resnext.training.world import World


class PartlyRead(NamedBatch[Pixels_co], Protocol[Pixels_co]):
    """A labelled batch that names its images, and says which images could not be read."""

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
    left_out: list[str] = []
    counts = _total(world, count(predict, _own(world, dataset, batches, left_out), len(class_names)))
    everywhere = _everywhere(world, left_out, counts.num_images, dataset)
    return Scores.of(counts, class_names), everywhere


def ask(
    world: World,
    predict: Predict[Pixels],
    dataset: Dataset,
    batches: Callable[[Dataset], Iterable[PartlyRead[Pixels]]],
    num_classes: int,
) -> tuple[Outputs, tuple[str, ...]]:
    """As `score`, but return all that `predict` said, in every process, the images of the first process first."""
    left_out: list[str] = []
    parts = world.gather(collect(predict, _own(world, dataset, batches, left_out), num_classes))
    outputs = Outputs(
        torch.cat([part.logits for part in parts]),
        torch.cat([part.labels for part in parts]),
        tuple(name for part in parts for name in part.names),
    )
    return outputs, _everywhere(world, left_out, len(outputs.names), dataset)


def _own(
    world: World,
    dataset: Dataset,
    batches: Callable[[Dataset], Iterable[PartlyRead[Pixels]]],
    left_out: list[str],
) -> Iterator[PartlyRead[Pixels]]:
    """Yield the batches of this process's part of a data set, and note what could not be read of it."""
    for batch in batches(Selected(dataset, range(world.rank, len(dataset.labels), world.size))):
        left_out.extend(batch.left_out)
        yield batch


def _everywhere(world: World, left_out: list[str], num_read: int, dataset: Dataset) -> tuple[str, ...]:
    """Return what no process could read. Raises `UnreadableError` where nothing was read."""
    num_images = len(dataset.labels)
    everywhere = tuple(message for part in world.gather(tuple(left_out)) for message in part)
    assert num_read + len(everywhere) == num_images, "an image was counted twice, or not at all"
    if everywhere and num_read == 0:
        raise UnreadableError(f"none of {num_images} images to score can be read, the first: {everywhere[0]}")
    return everywhere


def _total(world: World, counts: Counts) -> Counts:
    sums: Tensor = world.sum(torch.tensor([counts.num_top5_correct, counts.loss_sum], dtype=torch.float64))
    return Counts(world.sum(counts.confusion), int(sums[0]), float(sums[1]))
