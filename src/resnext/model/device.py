"""Where a network computes."""

import platform
import re
from contextlib import suppress
from pathlib import Path

import torch

_OUT_OF_MEMORY = ("out of memory", "can't allocate memory", "could not create a primitive")  # CUDA, torch, oneDNN


def pick_device(name: str = "auto") -> torch.device:
    """Return the device of a name: `auto` (a GPU where there is one, else the CPU), `cpu`, `cuda`, `cuda:N`, `mps`.

    Raises `ValueError` where the name is unknown or the device is not there.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.zeros(1, device=device).item()
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        reason = str(error).partition("\n")[0]
        raise ValueError(f"device = {name!r}: cannot be used here ({reason}); 'auto' and 'cpu' can") from None
    return device


def processor(device: torch.device) -> str:
    """Return the name of the GPU, or of the CPU as far as the system tells it; empty where it does not."""
    if device.type == "cuda":
        return str(torch.cuda.get_device_name(device))
    with suppress(OSError):
        named = re.search(r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
        return named[1] if named else platform.processor()
    return platform.processor()


def is_out_of_memory(error: BaseException) -> bool:
    """Recognise what Python and torch raise where memory ends, on a GPU and on a CPU."""
    said = str(error).lower()
    return isinstance(error, MemoryError) or any(words in said for words in _OUT_OF_MEMORY)
