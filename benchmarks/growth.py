"""How cost grows, ours beside the peers: python benchmarks/growth.py [--depth 50] [--image-size 224] [--out FOLDER].

Images a second in single precision against the size of the batch, the size of the image, the cardinality C (at the
width that keeps the complexity), and the number of threads: engine `auto` beside torchvision's network, eager and
folded in channels_last, and timm's where it is installed. Contestants of a point run in turn and have the same logits.
Writes growth.json, growth.md and growth.svg beside this file, or into --out, in about six minutes.
"""

import argparse
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, LogLocator, NullLocator

from resnext.inference.choice import choose
from resnext.inference.contest import Ratio, race, times_as_fast
from resnext.inference.contestants import Run, Workload, answer, eager, tuned
from resnext.inference.engine import EngineName
from resnext.model.device import processor
from resnext.model.forms import build
from resnext.spec.architecture import architecture
from resnext.spec.complexity import complexity, solve_width
from resnext.training.provenance import versions

DEPTH, IMAGE_SIZE = 50, 224
CARDINALITY = 32
ROUNDS = 9
BATCH_SIZES, BATCH_SHARE = (1, 4, 16, 64), 5 / 7  # large batches are of smaller images: 160 for 224
IMAGE_SHARES = (3 / 7, 5 / 7, 1, 10 / 7)  # 96, 160, 224 and 320
CARDINALITIES = (1, 2, 4, 8, 16, 32, 64)
THREADS = (1, 2)
OURS, EAGER, TUNED, TIMM = "resnext auto", "torchvision eager", "torchvision channels_last, folded", "timm eager"
COLOURS = {OURS: "#1f6f8b", EAGER: "#8a8479", TUNED: "#c08552", TIMM: "#b9b4ab"}
MOST_ERROR = 1e-4


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """What is measured at once: a network, a batch of images of one size, and how many threads compute."""

    network: str
    image_size: int
    batch_size: int = 1
    num_threads: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """Images a second at a point in the median over rounds, and how many times as fast ours is as each peer."""

    point: Point
    place: int
    macs: int
    engine: EngineName
    images_per_second: Mapping[str, float]
    times_as_fast: Mapping[str, Ratio]


def sweeps(depth: int, image_size: int) -> dict[str, list[tuple[int, Point]]]:
    """Return the points of each sweep with their places on its axis; all but one field stay as they are."""
    usual = Point(network=named(depth, CARDINALITY), image_size=image_size, num_threads=torch.get_num_threads())
    small = replace(usual, image_size=round(image_size * BATCH_SHARE))
    sizes = [round(image_size * share) for share in IMAGE_SHARES]
    return {
        f"batch, images of {small.image_size}": [(size, replace(small, batch_size=size)) for size in BATCH_SIZES],
        "pixels a side": [(size, replace(usual, image_size=size)) for size in sizes],
        "cardinality C": [(number, replace(usual, network=named(depth, number))) for number in CARDINALITIES],
        "threads": [(number, replace(usual, num_threads=number)) for number in THREADS],
    }


def named(depth: int, cardinality: int) -> str:
    """Return the name of the network with so many paths, as wide as keeps the complexity of a ResNet."""
    like = f"resnet{depth}"
    return (
        like if cardinality == 1 else f"resnext{depth}_{cardinality}x{solve_width(cardinality=cardinality, like=like)}d"
    )


def entered(workload: Workload) -> tuple[EngineName, dict[str, Run]]:
    """Make all contestants, check their logits, and say which engine is ours."""
    choice, quickest = choose(workload.ready)
    runs: dict[str, Run] = {
        EAGER: eager("torchvision", workload),
        TUNED: tuned("torchvision", "torch", "fp32", workload),
        OURS: partial(quickest, workload.example),
    }
    if find_spec("timm"):
        runs[TIMM] = eager("timm", workload)
    expected = answer(workload.network, workload.example)
    for name, run in runs.items():
        error = float((run() - expected).norm() / expected.norm())
        assert error <= MOST_ERROR, f"{name} is off by {error}"
    return choice.engine, runs


def measured(place: int, point: Point) -> Measured:
    """Race all contestants at a point."""
    torch.set_num_threads(point.num_threads)
    value = architecture(point.network)
    network = build(value, generator=torch.Generator().manual_seed(0)).eval()
    engine, runs = entered(Workload(network, torch.rand(point.batch_size, 3, point.image_size, point.image_size)))
    times = race(runs, ROUNDS)
    seconds = {name: sorted(each)[len(each) // 2] / 1000 for name, each in times.items()}
    found = Measured(
        point=point,
        place=place,
        macs=complexity(value, point.image_size).macs,
        engine=engine,
        images_per_second={name: point.batch_size / each for name, each in seconds.items()},
        times_as_fast={name: times_as_fast(each, times[OURS]) for name, each in times.items() if name != OURS},
    )
    print(f"{point}: {found.images_per_second}", flush=True)
    return found


def figure_of(found: Mapping[str, Sequence[Measured]]) -> Figure:
    """Draw a panel for each sweep, both axes logarithmic."""
    figure = Figure(figsize=(9, 6.4), layout="constrained")
    panels = figure.subplots(2, 2, squeeze=False).flat
    for axes, (title, points) in zip(panels, found.items(), strict=True):
        draw(axes, title, points)
    handles, labels = figure.axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=len(labels), frameon=False, fontsize=9)
    return figure


def draw(axes: Axes, title: str, points: Sequence[Measured]) -> None:
    """Draw images a second over the places of a sweep."""
    places = [point.place for point in points]
    for name in points[0].images_per_second:
        axes.plot(places, [point.images_per_second[name] for point in points], "o-", color=COLOURS[name], label=name)
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.xaxis.set_major_locator(FixedLocator(places))
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_minor_locator(NullLocator())
        axis.set_major_formatter("{x:g}")
    axes.set_xlabel(title)
    axes.set_ylabel("images a second")
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="y", color="#dddddd", linewidth=0.6)


def page(found: Mapping[str, Sequence[Measured]], place: Mapping[str, Any]) -> Iterator[str]:
    """Write a table for each sweep."""
    yield "# How cost grows\n"
    yield (
        f"{place['network']} at {place['image_size']}, fp32, one image at a time, but for what a table names. Beside a"
        " peer's images a second stands how many times as fast ours is, with the 95 % interval.\n"
    )
    yield "![Images a second in each sweep](growth.svg)\n"
    for title, points in found.items():
        peers = list(points[0].times_as_fast)
        yield f"## {title[0].upper()}{title[1:]}\n"
        heads = ["G MACs an image", f"{OURS}, images/s", *peers]
        yield f"| | engine | {' | '.join(heads)} |\n|---:|---|{'---:|' * len(heads)}"
        for point in points:
            speeds = point.images_per_second
            cells = [f"{point.macs / 1e9:.2f}", f"{speeds[OURS]:.1f}"]
            cells += [f"{speeds[name]:.1f}: {in_words(point.times_as_fast[name])}" for name in peers]
            yield f"| {point.place} | {point.engine} | {' | '.join(cells)} |"
        yield ""
    libraries = ", ".join(f"{name} {number}" for name, number in place["versions"].items())
    yield f"Medians of {ROUNDS} rounds; {place['processor']}, {place['num_threads']} threads; {libraries}."


def in_words(ratio: Ratio) -> str:
    """Write a ratio with its interval."""
    return f"{ratio.median:.2f} ({ratio.low:.2f} to {ratio.high:.2f})"


def main(depth: int, image_size: int, out: Path) -> None:
    """Measure, draw and write."""
    installed = [package for package in ("torchvision", "timm", "onnxruntime", "openvino") if find_spec(package)]
    place = {
        "network": named(depth, CARDINALITY),
        "image_size": image_size,
        "num_threads": torch.get_num_threads(),
        "processor": processor(torch.device("cpu")),
        "versions": {**versions(), **{package: version(package) for package in installed}},
    }
    with TemporaryDirectory() as cache:
        os.environ["XDG_CACHE_HOME"] = cache  # no choice of an earlier run
        found = {title: [measured(*point) for point in points] for title, points in sweeps(depth, image_size).items()}
    written = {**place, "sweeps": {title: [asdict(point) for point in points] for title, points in found.items()}}
    (out / "growth.json").write_text(json.dumps(written, indent=1) + "\n")
    (out / "growth.md").write_text("\n".join(page(found, place)) + "\n")
    with rc_context({"svg.fonttype": "none", "svg.hashsalt": "resnext"}):
        figure_of(found).savefig(out / "growth.svg", metadata={"Date": None})


def _parsed() -> dict[str, Any]:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--depth", type=int, default=DEPTH)
    parser.add_argument("--image-size", type=int, default=IMAGE_SIZE)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent)
    return vars(parser.parse_args())


if __name__ == "__main__":
    main(**_parsed())
