"""Scoring anything that turns pixels into logits: a live network, a classifier, a session of another runtime."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Protocol, TypeVar

import torch
from torch import Tensor

from resnext.evaluation.metrics import Counts, Scores

Pixels = TypeVar("Pixels")
Pixels_co = TypeVar("Pixels_co", covariant=True)

Predict = Callable[[Pixels], Tensor]


class LabelledBatch(Protocol[Pixels_co]):
    """Pixels, in whatever layout the predictor takes, and labels (batch,)."""

    @property
    def pixels(self) -> Pixels_co:
        """The images of the batch."""
        ...

    @property
    def labels(self) -> Tensor:
        """Their classes."""
        ...


def evaluate(predict: Predict[Pixels], batches: Iterable[LabelledBatch[Pixels]], class_names: Sequence[str]) -> Scores:
    """Score `predict`, a function from pixels to logits (batch, classes), on every image of `batches` once.

    Raises `ValueError` where there is no image, or where logits and names differ in number.
    """
    return Scores.of(count(predict, batches, len(class_names)), class_names)


def count(predict: Predict[Pixels], batches: Iterable[LabelledBatch[Pixels]], num_classes: int) -> Counts:
    """Count what `predict` says of every image of `batches`; counts of parts of a data set add up to those of all.

    Raises `ValueError` where logits and classes differ in number.
    """
    counts = Counts.none(num_classes)
    for logits, labels in answered(predict, batches, num_classes):
        counts += Counts.of(logits, labels)
    return counts


def answered(
    predict: Predict[Pixels], batches: Iterable[LabelledBatch[Pixels]], num_classes: int | None = None
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield logits (batch, classes) and labels (batch,) of every batch that has an image.

    Raises `ValueError` where there are logits of another number of classes than is given.
    """
    for batch in batches:
        if len(batch.labels) == 0:
            continue
        with torch.inference_mode():
            logits = predict(batch.pixels)
        if num_classes is not None and logits.shape[1:] != (num_classes,):
            raise ValueError(f"logits of shape {tuple(logits.shape)}: there are {num_classes} class names")
        yield logits, batch.labels


def mean_over_views(predict: Predict[Tensor]) -> Predict[tuple[Tensor, ...]]:
    """Return a predictor for several views of the same images, whose logits (batch, classes) are the means over views.

    The means are of logits, as in the authors' code, not of probabilities: a view that is sure weighs more.
    """
    return lambda views: torch.stack([predict(view) for view in views]).mean(dim=0)
