"""What changes only the speed or the place of a run, never its result beyond rounding."""

import os
from dataclasses import dataclass
from typing import Literal, get_args

import torch

from resnext.model.device import pick_device
from resnext.spec.plan import Form
from resnext.training.heap import keep_freed_memory

Precision = Literal["auto", "fp32", "fp64", "bf16", "fp16"]

_MAX_LOADER_THREADS = 8
_CORES_PER_LOADER_THREAD = 4
_HALF = {"bf16": torch.bfloat16, "fp16": torch.float16}


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """Where and how a run computes.

    `device` is `auto` (a GPU where there is one), `cpu`, `cuda`, `cuda:N` or `mps`. `num_threads` is how many load
    images; 0 leaves it to the training thread; None means one a core beside a GPU, and one for each four cores beside
    a network on the CPU, whose own threads wait for each other when they are disturbed, but no more than eight.
    `precision` is `auto` (bf16 on a GPU that has it, fp16 on another, else fp32), `fp32`, `fp64`, or `bf16` or `fp16`
    for mixed precision, whose weights stay fp32. `form` is that of the blocks. `micro_batch_size` is the most images
    that one process computes at a time; `compiles` the network first; `fuses` batch norm and ReLU with what reads them,
    so that they are not kept for the backward pass, and `saves_memory` fuses and keeps still less; on a CPU either also
    keeps the memory that the process frees. `is_deterministic` refuses operations whose result changes from run to run.
    Raises `ValueError` where a field is not one of these.
    """

    device: str = "auto"
    num_threads: int | None = None
    precision: Precision = "auto"
    form: Form = "grouped"
    micro_batch_size: int | None = None
    compiles: bool = False
    fuses: bool = False
    saves_memory: bool = False
    is_deterministic: bool = False

    def __post_init__(self) -> None:
        if self.precision not in get_args(Precision):
            raise ValueError(f"precision = {self.precision!r}: allowed are {', '.join(get_args(Precision))}")
        if self.micro_batch_size is not None and self.micro_batch_size < 1:
            raise ValueError(f"micro_batch_size = {self.micro_batch_size}: at least 1 image is needed")
        if self.compiles and self.is_fused:
            raise ValueError(
                f"compiles = True, with {'fuses' if self.fuses else 'saves_memory'} = True: the compiler fuses by"
                " itself, and decides what is kept; leave one of them out"
            )

    def torch_device(self) -> torch.device:
        """Return the device. Raises `ValueError` where it is unknown or not there."""
        return pick_device(self.device)

    @property
    def dtype(self) -> torch.dtype:
        """The type of weights."""
        return torch.float64 if self.precision == "fp64" else torch.float32

    def autocast_dtype(self, device: torch.device) -> torch.dtype | None:
        """Return the type in which convolutions compute on a device where it is not that of the weights, else None."""
        if self.precision == "auto" and device.type == "cuda":
            return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float16
        return _HALF.get(self.precision)

    @property
    def is_fused(self) -> bool:
        """Whether batch norm and ReLU are fused with what reads them."""
        return self.fuses or self.saves_memory

    @property
    def keeps_memory(self) -> bool:
        """Whether the process keeps the memory that it frees: where a network is fused on the CPU."""
        return self.is_fused and self.torch_device().type == "cpu"

    @property
    def num_loader_threads(self) -> int:
        """How many threads of this process load images."""
        if self.num_threads is not None:
            return self.num_threads
        cores = num_cores() // int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
        spare = cores if self.torch_device().type != "cpu" else cores // _CORES_PER_LOADER_THREAD
        return min(spare, _MAX_LOADER_THREADS)

    def settle(self) -> None:
        """Tell torch where results must repeat exactly; where they need not, convolutions are timed and chosen.

        Tell the C library, where a network on the CPU is fused, to keep the memory that is freed.
        """
        if self.is_deterministic:
            os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
            torch.use_deterministic_algorithms(True)
        torch.backends.cudnn.benchmark = not torch.are_deterministic_algorithms_enabled()
        if self.keeps_memory:
            keep_freed_memory()


def num_cores() -> int:
    """Return how many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
