"""What a network says of every image of a data set, kept: for calibration, thresholds and figures."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from resnext.evaluation.evaluate import LabelledBatch, Pixels, Pixels_co, Predict, answered


class NamedBatch(LabelledBatch[Pixels_co], Protocol[Pixels_co]):
    """A labelled batch that knows what its images are called."""

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the images, as messages call them."""
        ...


@dataclass(frozen=True, slots=True)
class Outputs:
    """Logits (images, classes), float32, with the labels (images,), int64, and the names of the images, on the CPU.

    50,000 images of 1,000 classes take 200 MB; plain scoring counts instead.
    """

    logits: Tensor
    labels: Tensor
    names: tuple[str, ...]


def collect(predict: Predict[Pixels], batches: Iterable[NamedBatch[Pixels]]) -> Outputs:
    """Keep what `predict`, a function from pixels to logits (batch, classes), says of every image of `batches`.

    Of no images the logits are (0, 0).
    """
    names: list[str] = []

    def noted() -> Iterable[NamedBatch[Pixels]]:
        for batch in batches:
            names.extend(batch.names)
            yield batch

    pairs = [(logits.cpu().float(), labels.cpu()) for logits, labels in answered(predict, noted())]
    if not pairs:
        return Outputs(torch.zeros(0, 0), torch.zeros(0, dtype=torch.int64), ())
    logits, labels = zip(*pairs, strict=True)
    return Outputs(torch.cat(logits), torch.cat(labels), tuple(names))
