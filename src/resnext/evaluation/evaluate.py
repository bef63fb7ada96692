"""Scoring anything that turns pixels into logits: a live network, a classifier, a session of another runtime."""

from collections.abc import Callable, Iterable, Sequence
from typing import Protocol

import torch
from torch import Tensor

from resnext.evaluation.metrics import Counts, Scores

Predict = Callable[[Tensor], Tensor]


class LabelledBatch(Protocol):
    """Pixels, in whatever layout the predictor takes, and labels (batch,)."""

    @property
    def pixels(self) -> Tensor:
        """The images of the batch."""
        ...

    @property
    def labels(self) -> Tensor:
        """Their classes."""
        ...


def evaluate(predict: Predict, batches: Iterable[LabelledBatch], class_names: Sequence[str]) -> Scores:
    """Score `predict`, a function from pixels to logits (batch, classes), on every image of `batches` once.

    Raises `ValueError` where there is no image, or where logits and names differ in number.
    """
    counts = Counts.none(len(class_names))
    with torch.inference_mode():
        for batch in batches:
            if len(batch.labels) == 0:
                continue
            logits = predict(batch.pixels)
            if logits.shape[1:] != (len(class_names),):
                raise ValueError(f"logits of shape {tuple(logits.shape)}: there are {len(class_names)} class names")
            counts += Counts.of(logits, batch.labels)
    return Scores.of(counts, class_names)
