"""How much memory a contestant takes, measured in a process of its own, where nothing else is."""

import gc
from concurrent.futures import ProcessPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

import torch

from resnext.inference.contestants import Contestant, Workload
from resnext.model.forms import build, skeleton
from resnext.spec.architecture import Architecture

_NUM_CALLS = 3
_PROCESS = Path("/proc/self")


@dataclass(frozen=True, slots=True, kw_only=True)
class Footprint:
    """The most memory, in bytes, that a contestant took while it was made, and after that, while it ran.

    Both are what came on top of Python with torch and torchvision loaded: weights, the code of other libraries, and
    working memory.
    """

    making_bytes: int
    running_bytes: int


def footprint(contestant: Contestant, architecture: Architecture, shape: tuple[int, ...]) -> Footprint | None:
    """Return the memory of a contestant, for batches of a shape (batch, channels, height, width).

    It is made with initial weights, as values take no room, or of its file, in a new Python, which has to be able to
    import the function that makes it. None where the system does not tell, or where that fails.
    """
    if not (_PROCESS / "clear_refs").exists():
        return None
    # A new Python, not a fork: a fork would begin with the memory of this process.
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as apart, suppress(Exception):
        return apart.submit(_measure, contestant, architecture, shape, torch.get_num_threads()).result()
    return None


def _measure(contestant: Contestant, architecture: Architecture, shape: tuple[int, ...], num_threads: int) -> Footprint:
    import torchvision  # noqa: F401, PLC0415 - what every process here has loaded is nobody's

    torch.set_num_threads(num_threads)
    before = _status_bytes("VmRSS")
    _forget_peak()
    network = skeleton(architecture) if contestant.file else build(architecture)
    workload = Workload(network.eval(), torch.rand(shape))
    run = contestant.make(workload)
    run()
    making = _status_bytes("VmHWM")
    del network, workload
    gc.collect()
    _forget_peak()
    for _ in range(_NUM_CALLS):
        run()
    return Footprint(making_bytes=making - before, running_bytes=_status_bytes("VmHWM") - before)


def _forget_peak() -> None:
    """Let the kernel's record of the most resident memory begin anew."""
    (_PROCESS / "clear_refs").write_text("5", encoding="ascii")


def _status_bytes(field: str) -> int:
    lines = (_PROCESS / "status").read_text(encoding="ascii", errors="replace").splitlines()
    return next(1024 * int(line.split()[1]) for line in lines if line.startswith(f"{field}:"))
