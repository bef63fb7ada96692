"""What changes only the speed or the place of a run, never its result beyond rounding."""

import os
from dataclasses import dataclass
from typing import Literal

import torch

from resnext.model.blocks import Form
from resnext.model.device import pick_device

Precision = Literal["fp32", "fp64"]

_MAX_LOADER_THREADS = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """Where and how a run computes.

    `device` is `auto` (a GPU where there is one), `cpu`, `cuda`, `cuda:N` or `mps`; `num_threads` loads images, None
    means one beside a CPU, whose cores have the network to compute, and one for each core, up to eight, beside a GPU;
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
        """How many threads load images; none means that the training thread does."""
        if self.num_threads is not None:
            return self.num_threads
        return 1 if self.torch_device().type == "cpu" else min(num_cores(), _MAX_LOADER_THREADS)


def num_cores() -> int:
    """Return how many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
