"""How much memory a machine has, and how much of it this process holds."""

import os
from dataclasses import dataclass
from pathlib import Path

import torch

_LIMIT, _USED = Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory.current")


@dataclass(frozen=True, slots=True, kw_only=True)
class Capacity:
    """The memory of a device in bytes: all of it, and what this process may have of it beside what it holds."""

    total_bytes: int
    available_bytes: int


def capacity(device: torch.device) -> Capacity:
    """Return the memory of a GPU, or of the machine, within what a container allows."""
    if device.type == "cuda":
        torch.cuda.empty_cache()
        free, total = torch.cuda.mem_get_info(device)
        return Capacity(total_bytes=total, available_bytes=free)
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    available = _available_bytes(total)
    limit = _number(_LIMIT)
    if limit is not None and limit < total:
        return Capacity(total_bytes=limit, available_bytes=max(0, min(available, limit - (_number(_USED) or 0))))
    return Capacity(total_bytes=total, available_bytes=available)


def resident_bytes() -> int:
    """Return the memory that this process holds now; 0 where the system does not say."""
    try:
        num_pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    except OSError:
        return 0
    return num_pages * os.sysconf("SC_PAGE_SIZE")


def _available_bytes(total: int) -> int:
    """Return what the kernel says can be had without swapping; all where it does not say."""
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
    except OSError:
        return total
    return next((1024 * int(line.split()[1]) for line in lines if line.startswith("MemAvailable:")), total)


def _number(path: Path) -> int | None:
    """Return the number in a file of the kernel's; None where there is no file, or no limit in it."""
    try:
        return int(path.read_text(encoding="ascii"))
    except (OSError, ValueError):
        return None


def in_words(num_bytes: int) -> str:
    """Print a size in kilobytes, megabytes or gigabytes."""
    if num_bytes < 1e6:
        return f"{num_bytes / 1e3:,.0f} kB"
    return f"{num_bytes / 1e6:,.0f} MB" if num_bytes < 1e9 else f"{num_bytes / 1e9:,.1f} GB"
