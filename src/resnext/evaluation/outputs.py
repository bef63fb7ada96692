"""What a network said of some images, kept whole: for what counts alone cannot answer."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from resnext.evaluation.evaluate import LabelledBatch, Pixels, Pixels_co, Predict


class NamedBatch(LabelledBatch[Pixels_co], Protocol[Pixels_co]):
    """A labelled batch that names its images."""

    @property
    def names(self) -> Sequence[str]:
        """What messages call them."""
        ...


@dataclass(frozen=True, slots=True)
class Outputs:
    """Logits (images, classes) in single precision and labels (images,), on the CPU, and the names of the images."""

    logits: Tensor
    labels: Tensor
    names: tuple[str, ...]


def collect(predict: Predict[Pixels], batches: Iterable[NamedBatch[Pixels]], num_classes: int) -> Outputs:
    """Keep all that `predict` says of every image of `batches`: four bytes an image and class."""
    logits, labels = [torch.zeros(0, num_classes)], [torch.zeros(0, dtype=torch.int64)]
    names: list[str] = []
    with torch.inference_mode():
        for batch in batches:
            if len(batch.labels) > 0:
                logits.append(predict(batch.pixels).float().cpu())
                labels.append(batch.labels.cpu())
                names.extend(batch.names)
    return Outputs(torch.cat(logits), torch.cat(labels), tuple(names))
