"""How sure answers are and whether they are right, image by image: little enough to keep of any number of images."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

from resnext.evaluation.calibration import ece_percent
from resnext.evaluation.evaluate import LabelledBatch, Pixels, Predict, answered
from resnext.evaluation.metrics import Counts
from resnext.evaluation.outputs import Outputs

_ROWS_AT_ONCE = 4096


@dataclass(frozen=True, slots=True)
class Answers:
    """The probability of each answer (images,), calibrated and raw, and whether it is right (images,)."""

    probabilities: Tensor
    raw_probabilities: Tensor
    is_right: Tensor

    @classmethod
    def of(cls, logits: Tensor, labels: Tensor, temperature: float) -> Self:
        """Take the most probable class of logits (batch, classes) for the answer, the first of equals."""
        logits, labels = logits.detach().cpu().double(), labels.cpu()
        said = logits.argmax(dim=1)
        return cls(
            probabilities=(logits / temperature).softmax(dim=1).amax(dim=1),
            raw_probabilities=logits.softmax(dim=1).amax(dim=1),
            is_right=said == labels,
        )

    @classmethod
    def joined(cls, parts: Sequence[Self]) -> Self:
        """Put the answers of parts of a data set one after another."""
        none = torch.zeros(0, dtype=torch.float64)
        return cls(
            probabilities=torch.cat([none, *(part.probabilities for part in parts)]),
            raw_probabilities=torch.cat([none, *(part.raw_probabilities for part in parts)]),
            is_right=torch.cat([none.bool(), *(part.is_right for part in parts)]),
        )

    @property
    def ece_percent(self) -> float:
        """The expected calibration error of the calibrated probabilities, see `calibration.ece_percent`."""
        return ece_percent(self.probabilities, self.is_right)

    @property
    def raw_ece_percent(self) -> float:
        """The expected calibration error of the raw probabilities."""
        return ece_percent(self.raw_probabilities, self.is_right)


def answers_of(outputs: Outputs, temperature: float) -> Answers:
    """Return how sure the answers in outputs are, some images at a time, so that little memory is needed."""
    pieces = (torch.split(tensor, _ROWS_AT_ONCE) for tensor in (outputs.logits, outputs.labels))
    return Answers.joined([Answers.of(logits, labels, temperature) for logits, labels in zip(*pieces, strict=True)])


def count_and_keep(
    predict: Predict[Pixels], batches: Iterable[LabelledBatch[Pixels]], num_classes: int, temperature: float
) -> tuple[Counts, Answers]:
    """Count what `predict` says of every image of `batches`, as `count` does, and keep how sure it is of it.

    Raises `ValueError` where logits and classes differ in number.
    """
    counts, parts = Counts.none(num_classes), []
    for logits, labels in answered(predict, batches, num_classes):
        counts += Counts.of(logits, labels)
        parts.append(Answers.of(logits, labels, temperature))
    return counts, Answers.joined(parts)
