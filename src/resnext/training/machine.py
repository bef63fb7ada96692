"""What changes only the speed or the place of a run, never its result beyond rounding."""

import os
from dataclasses import dataclass
from typing import Literal

import torch

from resnext.model.blocks import Form
from resnext.model.device import pick_device

Precision = Literal["fp32", "fp64"]

_MAX_LOADER_THREADS = 8
_CORES_PER_LOADER_THREAD = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """Where and how a run computes.

    `device` is `auto` (a GPU where there is one), `cpu`, `cuda`, `cuda:N` or `mps`. `num_threads` is how many load
    images; 0 leaves it to the training thread; None means one a core beside a GPU, and one for each four cores beside
    a network on the CPU, whose own threads wait for each other when they are disturbed, but no more than eight.
    `form` is that of the blocks.
    """

    device: str = "auto"
    num_threads: int | None = None
    precision: Precision = "fp32"
    form: Form = "grouped"

    def torch_device(self) -> torch.device:
        """Return the device. Raises `ValueError` where it is unknown or not there."""
        return pick_device(self.device)

    @property
    def dtype(self) -> torch.dtype:
        """The type of weights and activations."""
        return torch.float64 if self.precision == "fp64" else torch.float32

    @property
    def num_loader_threads(self) -> int:
        """How many threads load images."""
        if self.num_threads is not None:
            return self.num_threads
        spare = num_cores() if self.torch_device().type != "cpu" else num_cores() // _CORES_PER_LOADER_THREAD
        return min(spare, _MAX_LOADER_THREADS)


def num_cores() -> int:
    """Return how many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
