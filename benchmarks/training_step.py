"""How fast a training step is, and what it takes: python benchmarks/training_step.py [ROUNDS] [BATCH] [SIZE].

A step is a forward pass, the cross-entropy, a backward pass and an update by SGD with momentum, in fp32, on the same
images again and again. First ResNeXt-50 32x4d: as torchvision and timm make it, stepped by a plain script, and by the
learner of `resnext train`, plain (channels_last), with --fuse and with --save-memory; the learner also normalises bytes
and makes sure that gradients are finite. Then a small network for CIFAR: the plain script by torch's defaults, and the
learner. Each contestant is a process of its own, because --fuse changes what a process does with freed memory. All of a
race, and a matrix product of 4096 squared as the machine's ceiling, take their steps in turn, while the others wait;
ratios are taken within rounds. Memory is the peak of a contestant's resident set over all of its steps, less what was
resident before the first, when weights and images were there: maps, gradients, momentum, and what libraries allocate
and leave unused, count. Writes training_step.json and training_step.md beside this file, in some nine minutes.
"""

import json
import platform
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from statistics import median
from typing import Any

import timm
import torch
import torch.nn.functional as F
import torchvision
from torch import nn

import resnext
from resnext.data.loader import Batch
from resnext.inference.contest import race, times_as_fast
from resnext.model.device import processor
from resnext.spec.recipe import Recipe
from resnext.training.fused import computed
from resnext.training.learner import Learner
from resnext.training.machine import Machine
from resnext.training.state import initial_state
from resnext.training.world import World

ROUNDS, BATCH, SIZE = 13, 16, 224
LARGE, SMALL = "resnext50_32x4d", "resnext20_8x4d"
SMALL_BATCH, SMALL_SIZE, SMALL_BASE = 128, 32, 16
PRODUCT, GIGA = 4096, 1e9
TORCHVISION, TIMM, DEFAULT, CEILING = "torchvision", "timm", "default of torch", "matrix product"
WAYS: dict[str, dict[str, bool]] = {
    "resnext": {},
    "resnext --fuse": {"fuses": True},
    "resnext --save-memory": {"saves_memory": True},
    "resnext --compile": {"compiles": True},
}
IN_LARGE = (TORCHVISION, TIMM, "resnext", "resnext --fuse", "resnext --save-memory")
IN_SMALL = (DEFAULT, *WAYS)
CPU = torch.device("cpu")


def plain_step(network: nn.Module, batch: int, size: int) -> Callable[[], object]:
    """Return what takes a step of a plain script."""
    network.train()
    images, labels = torch.randn(batch, 3, size, size), torch.arange(batch) % 10
    optimiser = torch.optim.SGD(network.parameters(), lr=0.01, momentum=0.9, weight_decay=1e-4)

    def take() -> None:
        optimiser.zero_grad()
        torch.autograd.backward(F.cross_entropy(network(images), labels))
        optimiser.step()

    return take


def our_step(model: str, way: str, batch: int, size: int) -> Callable[[], object]:
    """Return what takes a step of `resnext train`."""
    recipe = Recipe(
        name="step",
        model=model,
        architecture={"base_channels": SMALL_BASE, "num_classes": 10} if model == SMALL else {"num_classes": 1000},
        epochs=1,
        batch_size=batch,
        image={"size": size},
        optimiser={"learning_rate": 0.01},
    )
    machine = Machine(device="cpu", **WAYS[way])  # type: ignore[arg-type]
    machine.settle()
    state = initial_state(recipe, 0, machine, CPU)
    learner = Learner(
        state=state,
        recipe=recipe,
        model=computed(state.network, machine),
        world=World(),
        device=CPU,
        dtype=machine.dtype,
        keeps_memory=machine.keeps_memory,
        saves_memory=machine.saves_memory,
    )
    pixels = torch.randint(256, (batch, 3, size, size), dtype=torch.uint8)
    labels = torch.arange(batch) % 10
    images = Batch(pixels=pixels, labels=labels, names=("",) * batch, colour=None, mix=None)

    def take() -> None:
        if state.epoch == 0:
            state.begin_epoch()
            learner.enter_epoch()
        learner.step(images, 0.01)

    return take


def contestant(model: str, name: str, batch: int, size: int) -> Callable[[], object]:
    """Return what takes a step of a contestant."""
    if name in WAYS:
        return our_step(model, name, batch, size)
    if name == TORCHVISION:
        return plain_step(torchvision.models.resnext50_32x4d(), batch, size)
    if name == TIMM:
        return plain_step(timm.create_model(LARGE), batch, size)
    return plain_step(resnext.build(resnext.architecture(model, base_channels=SMALL_BASE, num_classes=10)), batch, size)


def serve(model: str, name: str, batch: str, size: str) -> None:
    """Take a step for each line that comes in, and answer with the peak of memory so far, in bytes."""
    step = contestant(model, name, int(batch), int(size))
    before = resident_bytes("VmRSS")
    print("ready", flush=True)
    for _ in sys.stdin:
        step()
        print(resident_bytes("VmHWM") - before, flush=True)


def resident_bytes(field: str) -> int:
    """Return the resident set of this process: VmRSS now, VmHWM at its most."""
    lines = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return 1024 * int(lines[field].split()[0])


@contextmanager
def served(*given: object) -> Iterator[Callable[[], int]]:
    """Yield what lets another process take a step and returns its peak of memory."""
    command = [sys.executable, __file__, "--serve", *map(str, given)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1) as process:
        assert process.stdin is not None and process.stdout is not None
        answers, calls = process.stdout, process.stdin
        answers.readline()

        def take() -> int:
            calls.write("\n")
            return int(answers.readline())

        yield take


def raced(model: str, names: tuple[str, ...], shape: tuple[int, int], num_rounds: int) -> dict[str, dict[str, Any]]:
    """Race contestants; return the time of a step of each, its peak of memory, and ratios to all that are not ours."""
    square = torch.randn(PRODUCT, PRODUCT)
    with ExitStack() as stack:
        steps = {name: stack.enter_context(served(model, name, *shape)) for name in names}
        times = race({**steps, CEILING: lambda: square @ square}, num_rounds)
        peaks = {name: take() for name, take in steps.items()}
    peers = [name for name in names if name not in WAYS]
    return {
        name: {
            "step_ms": median(times[name]),
            "peak_bytes": peaks[name],
            **{f"times {peer}": ratio(times[peer], times[name]) for peer in peers},
            **{f"memory of {peer}": peaks[name] / peaks[peer] for peer in peers},
        }
        for name in names
    } | {CEILING: {"step_ms": median(times[CEILING])}}


def ratio(reference: list[float], other: list[float]) -> dict[str, float]:
    """Return how many times as fast, with the 95 % interval of the median."""
    found = times_as_fast(reference, other)
    return {"median": found.median, "low": found.low, "high": found.high}


def table(of: dict[str, dict[str, Any]], peers: tuple[str, ...], num_images: int) -> list[str]:
    """Lay out a race."""
    titles = [title for peer in peers for title in (f"times {peer}", f"memory of {peer}")]
    lines = [f"| | ms an image | peak, MB | {' | '.join(titles)} |", "|---|---:|---:|" + "---:|" * len(titles)]
    for name in (name for name in of if name != CEILING):
        row = of[name]
        cells = [cell for peer in peers for cell in (spread(row[f"times {peer}"]), f"{row[f'memory of {peer}']:.0%}")]
        start = f"| {name} | {row['step_ms'] / num_images:.2f} | {row['peak_bytes'] / 1e6:,.0f} |"
        lines.append(f"{start} {' | '.join(cells)} |")
    return lines


def spread(found: dict[str, float]) -> str:
    """Say a ratio with its interval."""
    return f"{found['median']:.2f} ({found['low']:.2f} to {found['high']:.2f})"


def main(num_rounds: int = ROUNDS, batch: int = BATCH, size: int = SIZE) -> None:
    """Measure, and write what was found."""
    large = raced(LARGE, IN_LARGE, (batch, size), num_rounds)
    small = raced(SMALL, IN_SMALL, (SMALL_BATCH, SMALL_SIZE), num_rounds)
    ceiling = 2 * PRODUCT**3 / GIGA / (large[CEILING]["step_ms"] / 1000)
    work = 3 * 2 * resnext.complexity(LARGE, image_size=size).macs * batch / GIGA
    reached = {name: work / (large[name]["step_ms"] / 1000) / ceiling for name in IN_LARGE}
    place = {
        "rounds": num_rounds,
        "processor": processor(CPU),
        "num_threads": torch.get_num_threads(),
        "python": platform.python_version(),
        **{library.__name__: library.__version__ for library in (torch, torchvision, timm)},
    }
    lines = [
        "# A training step",
        "",
        f"{LARGE}, {batch} images of {size}x{size}, fp32. Medians over rounds of one race, with 95 % intervals.",
        "",
        *table(large, (TORCHVISION, TIMM), batch),
        "",
        f"Of the machine's ceiling, {ceiling:.0f} GFLOP/s in a matrix product, the arithmetic of the convolutions is"
        f" {', '.join(f'{part:.0%} ({name})' for name, part in reached.items())}.",
        "",
        f"{SMALL} with {SMALL_BASE} base channels, {SMALL_BATCH} images of {SMALL_SIZE}x{SMALL_SIZE}, fp32.",
        "",
        *table(small, (DEFAULT,), SMALL_BATCH),
        "",
        f"{', '.join(f'{key} {value}' for key, value in place.items())}.",
    ]
    here = Path(__file__).with_suffix("")
    found = {**place, "ceiling_gflops": ceiling, "large": large, "small": small}
    here.with_suffix(".json").write_text(json.dumps(found, indent=1) + "\n")
    here.with_suffix(".md").write_text("\n".join(lines) + "\n")
    print("\n".join(lines))


if __name__ == "__main__":
    if sys.argv[1:2] == ["--serve"]:
        serve(*sys.argv[2:])
    else:
        main(*map(int, sys.argv[1:]))
