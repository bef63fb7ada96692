"""Batch norm in training in its parts: forwards, the same once more for a backward pass, and backwards."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

Seen = Sequence[Tensor]
Needed = Sequence[bool]


@dataclass(frozen=True, slots=True, kw_only=True)
class Norm:
    """Parameters, and the running statistics that a forward pass moves by `momentum`, as in `nn.BatchNorm2d`.

    All tensors are (channels,). Maps are (batch, channels, height, width), in any layout, and may be of half precision.
    """

    weight: Tensor
    bias: Tensor
    running_mean: Tensor
    running_var: Tensor
    momentum: float
    eps: float

    def forward(self, x: Tensor) -> tuple[Tensor, Seen]:
        """Normalise a map; return it with the mean of each channel and one over its deviation, which were seen.

        Raises `ValueError` where a channel has a single value, and so no variance.
        """
        if x.numel() == x.shape[1]:
            raise ValueError(
                f"a map of shape {tuple(x.shape)}: batch norm needs more than 1 value a channel in training"
            )
        running = self.running_mean, self.running_var
        y, *seen = torch.native_batch_norm(x, self.weight, self.bias, *running, True, self.momentum, self.eps)
        return y, seen

    def again(self, x: Tensor, seen: Seen) -> Tensor:
        """Normalise a map by what was seen of it; nothing else changes."""
        mean, inverse_std = seen
        return torch.native_batch_norm(x, self.weight, self.bias, mean, inverse_std.pow(-2), False, 0.0, 0.0)[0]

    def backward(self, gradient: Tensor, x: Tensor, seen: Seen, needed: Needed) -> tuple[Tensor | None, ...]:
        """Return the gradients of the map, of the weight and of the bias, each None where it is not needed."""
        running = self.running_mean, self.running_var
        gradients: tuple[Tensor | None, ...] = torch.ops.aten.native_batch_norm_backward(
            gradient, x, self.weight, *running, *seen, True, self.eps, list(needed)
        )
        return gradients
