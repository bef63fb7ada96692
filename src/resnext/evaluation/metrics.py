"""Counts that merge, and the scores that are made of them by dividing once."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import torch
import torch.nn.functional as F
from torch import Tensor

TOP_K = 5


@dataclass(frozen=True, slots=True)
class Counts:
    """What was counted over some images; `confusion` is (true class, said class), `loss_sum` in nats."""

    confusion: Tensor
    num_top5_correct: int
    loss_sum: float

    @classmethod
    def none(cls, num_classes: int) -> Self:
        """Return the counts of no images."""
        return cls(torch.zeros(num_classes, num_classes, dtype=torch.int64), 0, 0.0)

    @classmethod
    def of(cls, logits: Tensor, labels: Tensor) -> Self:
        """Count one batch of logits (batch, classes) against labels (batch,)."""
        logits, labels = logits.detach().cpu().double(), labels.cpu()
        num_classes = logits.shape[1]
        top = logits.argsort(dim=1, descending=True, stable=True)[:, :TOP_K]
        pairs = labels * num_classes + top[:, 0]
        return cls(
            confusion=torch.bincount(pairs, minlength=num_classes**2).view(num_classes, num_classes),
            num_top5_correct=int((top == labels[:, None]).sum()),
            loss_sum=float(F.cross_entropy(logits, labels, reduction="sum")),
        )

    def __add__(self, other: Self) -> Self:
        return type(self)(
            self.confusion + other.confusion,
            self.num_top5_correct + other.num_top5_correct,
            self.loss_sum + other.loss_sum,
        )

    @property
    def num_images(self) -> int:
        """How many images were counted."""
        return int(self.confusion.sum())


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassScores:
    """One class: precision and recall in percent, None where nothing was said or nothing was there to find."""

    name: str
    precision_percent: float | None
    recall_percent: float | None
    support: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Scores:
    """How a classifier did; `confusion` has a row for each true class, `loss` is the mean cross-entropy in nats.

    With five classes or fewer the top-5 error says nothing and is None.
    """

    num_images: int
    top1_error_percent: float
    top5_error_percent: float | None
    loss: float
    classes: tuple[ClassScores, ...]
    confusion: tuple[tuple[int, ...], ...]

    @classmethod
    def of(cls, counts: Counts, class_names: Sequence[str]) -> Self:
        """Divide counts into scores. Raises `ValueError` where no image was counted."""
        total = counts.num_images
        if total == 0:
            raise ValueError("no images to score")
        said, true = counts.confusion.sum(dim=0).tolist(), counts.confusion.sum(dim=1).tolist()
        right = counts.confusion.diagonal().tolist()
        return cls(
            num_images=total,
            top1_error_percent=_percent(total - sum(right), total),
            top5_error_percent=_percent(total - counts.num_top5_correct, total) if len(class_names) > TOP_K else None,
            loss=counts.loss_sum / total,
            classes=tuple(
                ClassScores(
                    name=name,
                    precision_percent=_percent(right[i], said[i]) if said[i] else None,
                    recall_percent=_percent(right[i], true[i]) if true[i] else None,
                    support=true[i],
                )
                for i, name in enumerate(class_names)
            ),
            confusion=tuple(tuple(row) for row in counts.confusion.tolist()),
        )


def _percent(part: int, whole: int) -> float:
    return 100 * part / whole
