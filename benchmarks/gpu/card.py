"""The GPU under a benchmark: what it is, its two ceilings, its clock, and results kept as they come."""

import argparse
import gc
import json
import platform
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from statistics import median, quantiles
from typing import Any

import torch
from torch import Tensor

NOT_RUN = "not run: time over"

_PACKAGES = ("torch", "torchvision", "timm", "triton", "pydantic", "numpy")
_COPIED_BYTES = 4 * 2**30
_PRODUCT_SIDE = 8192
_FLUSHED_BYTES = 512 * 2**20  # several times the largest L2, and longer to read than a launch takes


@dataclass(frozen=True, slots=True)
class Deadline:
    """The moment, by `time.monotonic`, after which nothing new is begun."""

    ends: float

    @classmethod
    def after(cls, seconds: float) -> "Deadline":
        """Return the moment that is so many seconds away."""
        return cls(time.monotonic() + seconds)

    @property
    def seconds_left(self) -> float:
        """What is left; negative once it is over."""
        return self.ends - time.monotonic()


@dataclass(frozen=True, slots=True)
class Ceilings:
    """What the card reaches in this run: bytes per second, read and written, of a copy; FLOP/s of a bf16 product."""

    copy_bytes_per_second: float
    product_flops_per_second: float


def attempt(deadline: Deadline, work: Callable[[], dict[str, Any]], least_seconds: float = 0.0) -> dict[str, Any]:
    """Return what a part of a benchmark found, or why it found nothing: a fault in one part ends no other."""
    if deadline.seconds_left <= least_seconds:
        return {"note": NOT_RUN}
    began = time.monotonic()
    try:
        found = work()
    except Exception as error:
        said = next((line for line in str(error).splitlines() if line.strip()), "")
        found = {"note": f"{type(error).__name__}: {said[:300]}"}
    found["seconds"] = round(time.monotonic() - began, 2)
    return found


def release() -> None:
    """Give back the memory of what is no longer used."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def wait(device: torch.device) -> None:
    """Return once a device has nothing more to do."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def flush_buffer(device: torch.device) -> Tensor:
    """Return what is read between two timed calls, so that nothing they need is left in the cache."""
    return torch.ones(_FLUSHED_BYTES // 4 if device.type == "cuda" else 1, device=device)


def kernel_ms(run: Callable[[], object], num_calls: int, flushed: Tensor) -> list[float]:
    """Return the milliseconds of each call: between events on a GPU, and with an L2 that holds clean, other data."""
    if not flushed.is_cuda:
        return [wall_ms(run, 1, flushed.device) for _ in range(num_calls)]
    pairs = [(_event(), _event()) for _ in range(num_calls)]
    for begun, done in pairs:
        flushed.sum()
        begun.record()
        run()
        done.record()
    torch.cuda.synchronize()
    return [begun.elapsed_time(done) for begun, done in pairs]


def _event() -> torch.cuda.Event:
    return torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call, unused-ignore]


def wall_ms(run: Callable[[], object], num_calls: int, device: torch.device) -> float:
    """Return the mean milliseconds of a call by the host's clock, from an idle device to an idle device."""
    wait(device)
    began = time.perf_counter()
    for _ in range(num_calls):
        run()
    wait(device)
    return 1000 * (time.perf_counter() - began) / num_calls


def spread(times: list[float]) -> dict[str, float]:
    """Return the median of times in milliseconds and their first and last fifth."""
    fifths = quantiles(times, n=5) if len(times) > 1 else [times[0], times[0]]
    return {"ms": median(times), "ms_p20": fifths[0], "ms_p80": fifths[-1]}


def measured_ceilings(device: torch.device, copied_bytes: int = _COPIED_BYTES, side: int = _PRODUCT_SIDE) -> Ceilings:
    """Measure a copy from device memory to device memory, and a product of random bf16 matrices."""
    flushed = flush_buffer(device)
    copy_ms = _copy_ms(torch.randint(-128, 127, (copied_bytes,), dtype=torch.int8, device=device), flushed)
    product_ms = _product_ms(torch.randn(2, side, side, device=device, dtype=torch.bfloat16), flushed)
    return Ceilings(2 * copied_bytes / copy_ms * 1000, 2 * side**3 / product_ms * 1000)


def _copy_ms(source: Tensor, flushed: Tensor) -> float:
    target = torch.empty_like(source)
    return median(kernel_ms(lambda: target.copy_(source), 13, flushed)[3:])


def _product_ms(factors: Tensor, flushed: Tensor) -> float:
    return median(kernel_ms(lambda: factors[0] @ factors[1], 13, flushed)[3:])


def place(device: torch.device) -> dict[str, Any]:
    """Return what the benchmark runs on, and with which versions."""
    facts: dict[str, Any] = {
        "python": platform.python_version(),
        "cuda": torch.version.cuda,
        "cudnn": torch.backends.cudnn.version(),  # type: ignore[no-untyped-call, unused-ignore]
        **{package: _version(package) for package in _PACKAGES},
    }
    if device.type == "cuda":
        gpu = torch.cuda.get_device_properties(device)
        facts |= {"card": gpu.name, "memory_bytes": gpu.total_memory, "num_multiprocessors": gpu.multi_processor_count}
        facts["l2_bytes"] = getattr(gpu, "L2_cache_size", None)
        facts["driver"] = _driver()
    return facts


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _driver() -> str | None:
    query = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
    try:
        return subprocess.run(query, capture_output=True, text=True, timeout=20, check=True).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return None


def save(out: Path, name: str, facts: dict[str, Any], text: str) -> None:
    """Write what is known so far as JSON and as Markdown."""
    out.mkdir(parents=True, exist_ok=True)
    (out / f"{name}.json").write_text(json.dumps(facts, indent=2) + "\n")
    (out / f"{name}.md").write_text(text)


def in_words(facts: dict[str, Any], ceilings: Ceilings | None) -> str:
    """Write on what, with what and under which ceilings a benchmark ran."""
    told = ", ".join(f"{name} {facts.get(name)}" for name in ("driver", "cuda", "cudnn", *_PACKAGES))
    head = f"{facts.get('card', 'CPU')}; {told}."
    if ceilings is None:
        return f"{head} The ceilings could not be measured."
    return (
        f"{head} Measured in the same run: a copy moves {ceilings.copy_bytes_per_second / 1e12:.2f} TB/s, read and"
        f" written; a bf16 product of {_PRODUCT_SIDE} cubed runs at"
        f" {ceilings.product_flops_per_second / 1e12:.0f} TFLOP/s."
    )


def parsed(description: str | None, seconds: float) -> argparse.ArgumentParser:
    """Return a parser of the options that every benchmark here has."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=seconds, help="begin nothing new after so many")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent, help="the folder to write to")
    return parser


def need_gpu() -> torch.device:
    """Return the GPU; leave with status 2 where there is none."""
    if not torch.cuda.is_available():
        print("This benchmark needs a GPU with CUDA, and torch finds none here.", file=sys.stderr)
        raise SystemExit(2)
    torch.backends.cudnn.benchmark = True
    return torch.device("cuda")
