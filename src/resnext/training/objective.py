"""What a network is to answer, and the loss of what it does."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor


@dataclass(frozen=True, slots=True)
class Target:
    """The labels of images, (batch,); where they are mixed, those of their partners too, and the share of their own."""

    labels: Tensor
    partners: Tensor | None = None
    weight: float = 1.0

    @property
    def main(self) -> Tensor:
        """The label of the greater share of every image."""
        return self.labels if self.partners is None or self.weight >= 0.5 else self.partners

    def split(self, size: int) -> Iterator["Target"]:
        """Yield the targets of parts of at most `size` images."""
        labels = torch.split(self.labels, size)
        if self.partners is None:
            yield from map(Target, labels)
            return
        for own, partners in zip(labels, torch.split(self.partners, size), strict=True):
            yield Target(own, partners, self.weight)


def cross_entropy(logits: Tensor, target: Target, smoothing: float, class_weights: Tensor | None) -> Tensor:
    """Return the sum of the losses of images, in nats, each in the shares of its labels, weighed by their classes.

    The weights of a batch are not divided by their sum, so that parts of a batch add up to the whole.
    """

    def loss(labels: Tensor) -> Tensor:
        return F.cross_entropy(logits, labels, class_weights, reduction="sum", label_smoothing=smoothing)

    if target.partners is None:
        return loss(target.labels)
    return target.weight * loss(target.labels) + (1 - target.weight) * loss(target.partners)
