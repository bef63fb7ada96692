"""Scores and outputs that the processes of a run make together, each image in one of them."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Protocol, TypeVar

import torch
from torch import Tensor

from resnext.data.dataset import Dataset
from resnext.data.loader import UnreadableError
from resnext.data.stream import Stream
from resnext.data.views import labelled_by_place, share
from resnext.evaluation.evaluate import Pixels, Pixels_co, Predict, count
from resnext.evaluation.metrics import Counts, Scores
from resnext.evaluation.outputs import NamedBatch, Outputs, collect
from resnext.training.world import World

Folded = TypeVar("Folded")


class PartlyRead(NamedBatch[Pixels_co], Protocol[Pixels_co]):
    """A labelled batch that says which images could not be read."""

    @property
    def left_out(self) -> tuple[str, ...]:
        """A sentence for each image that could not be read."""
        ...


Batches = Callable[[Dataset | Stream], Iterable[PartlyRead[Pixels]]]


def score(
    world: World,
    predict: Predict[Pixels],
    dataset: Dataset | Stream,
    batches: Batches[Pixels],
    class_names: Sequence[str],
) -> tuple[Scores, tuple[str, ...]]:
    """Score `predict` on every readable image of a data set once, and say which could not be read.

    `batches` makes batches of the part of the data set that this process takes. Raises `ValueError` where there is no
    image, and `UnreadableError` where none can be read.
    """
    own, left_out = in_parts(world, dataset, batches, lambda part: count(predict, part, len(class_names)))
    counts = total(world, own)
    assert counts.num_images + len(left_out) == len(dataset.labels), "an image was counted twice, or not at all"
    return Scores.of(counts, class_names), left_out


def outputs(
    world: World, predict: Predict[Pixels], dataset: Dataset | Stream, batches: Batches[Pixels]
) -> tuple[Outputs, tuple[str, ...]]:
    """Collect what `predict` says of every readable image, in the order of the data set; every process has it all.

    Raises `UnreadableError` where no image can be read.
    """
    own, left_out = in_parts(world, labelled_by_place(dataset), batches, lambda part: collect(predict, part))
    parts = [part for part in world.gather(own) if part.names]
    if not parts:
        return own, left_out
    logits, places = (
        torch.cat(tensors) for tensors in zip(*((part.logits, part.labels) for part in parts), strict=True)
    )
    names = [name for part in parts for name in part.names]
    order = places.argsort()
    labels = torch.tensor(dataset.labels, dtype=torch.int64)[places[order]]
    return Outputs(logits[order], labels, tuple(names[place] for place in order.tolist())), left_out


def in_parts(
    world: World,
    dataset: Dataset | Stream,
    batches: Batches[Pixels],
    fold: Callable[[Iterable[PartlyRead[Pixels]]], Folded],
) -> tuple[Folded, tuple[str, ...]]:
    """Return what `fold` makes of the part of a data set that this process takes, and all images that were left out.

    Raises `UnreadableError` where none of the images can be read, in any process.
    """
    num_images = len(dataset.labels)
    left_out: list[str] = []

    def noted() -> Iterator[PartlyRead[Pixels]]:
        for batch in batches(share(dataset, world.rank, world.size)):
            left_out.extend(batch.left_out)
            yield batch

    folded = fold(noted())
    everywhere = tuple(message for part in world.gather(tuple(left_out)) for message in part)
    if everywhere and len(everywhere) == num_images:
        raise UnreadableError(f"none of {num_images} images to score can be read, the first: {everywhere[0]}")
    return folded, everywhere


def total(world: World, counts: Counts) -> Counts:
    """Return the sum of the counts of all processes."""
    sums: Tensor = world.sum(torch.tensor([counts.num_top5_correct, counts.loss_sum], dtype=torch.float64))
    return Counts(world.sum(counts.confusion), int(sums[0]), float(sums[1]))
