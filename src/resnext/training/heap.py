"""What becomes of the memory that maps on the CPU are freed from, between one step and the next.

glibc gives large blocks back to the system, and the system clears their pages anew as soon as they are written again:
about a sixth of a training step of ResNeXt-50. What is kept must not be cut up, or it would grow from step to step by
what fits nowhere. So gradients and momentum, which live longer than maps, are there before them and keep their places;
and what the first steps could not use again, because libraries put down in between what they keep, is given back once.
"""

import ctypes
import sys

import torch

_TRIM_THRESHOLD, _MMAP_MAX = -1, -4  # malloc.h
_MOST = 2**31 - 1


def keep_freed_memory() -> None:
    """Let this process keep the memory that it frees, until it ends, where its C library is glibc."""
    library = _glibc()
    if library is not None:
        library.mallopt(_MMAP_MAX, 0)
        library.mallopt(_TRIM_THRESHOLD, _MOST)


def give_back_freed_memory() -> None:
    """Give back, once, all that this process has freed and kept, where its C library is glibc."""
    library = _glibc()
    if library is not None:
        library.malloc_trim(0)


def reserve(optimiser: torch.optim.SGD) -> None:
    """Give each parameter that learns a gradient and momentum of zeros where it has none; no step changes by that."""
    for group in optimiser.param_groups:
        for parameter in group["params"]:
            if not parameter.requires_grad:
                continue
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
            if group["momentum"]:
                optimiser.state[parameter].setdefault("momentum_buffer", torch.zeros_like(parameter))


def _glibc() -> ctypes.CDLL | None:
    library = ctypes.CDLL(None) if sys.platform == "linux" else None
    return library if hasattr(library, "mallopt") and hasattr(library, "malloc_trim") else None
