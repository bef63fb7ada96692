"""How engines and peers are measured and shown on the command line."""

import json
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from resnext.artefact.sealed import write_atomically
from resnext.cli.console import messages, results, table
from resnext.inference.benchmark import Row, Speed, measure
from resnext.inference.ceiling import SIDE
from resnext.inference.contestants import Contestant, Workload, contestants
from resnext.inference.engine import DTYPES, precisions_here
from resnext.inference.telling import Tell, untold
from resnext.model.device import processor
from resnext.report.speed_figure import Bar, picture, speed_figure
from resnext.training.provenance import versions

if TYPE_CHECKING:
    from rich.console import Console

_PACKAGES = ("torchvision", "timm", "onnxruntime", "openvino")
_COLUMNS = ("contestant", "precision", "ms p50", "p95", "images/s", "times as fast (95 %)", "ceiling", "MB", "made")


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What the command line asks for: exported files as more rows, and what comes beside the table of numbers."""

    files: tuple[Contestant, ...]
    compiled: bool
    with_memory: bool
    picture: Path | None
    as_json: bool


def show_speed(name: str, workload: Workload, wanted: Wanted) -> None:
    """Measure a network in every setting that can be had here, and print what was found."""
    console = messages()
    entrants = (*contestants(compiled=wanted.compiled), *wanted.files)
    # A display that moves often would take time from what is timed.
    status = console.status("", refresh_per_second=1) if console.is_terminal else None
    with status or nullcontext():
        tell: Tell = status.update if status else untold
        speed = measure(workload, entrants, with_memory=wanted.with_memory, tell=tell)
    title = f"{name}, {_batch(workload)}"
    if wanted.picture is not None:
        figure = speed_figure(title, tuple(_bars(speed)))
        write_atomically(wanted.picture, picture(figure, wanted.picture.suffix))
    if wanted.as_json:
        print(json.dumps(_as_json(name, workload, speed)))
    else:
        _print_table(results(), title, speed)
        _print_of_files(results(), wanted.files, speed)


def _batch(workload: Workload) -> str:
    batch_size, _, _, image_size = workload.example.shape
    return f"{batch_size} image{'s' * (batch_size > 1)} of {image_size}x{image_size} at a time"


def _bars(speed: Speed) -> Iterator[Bar]:
    for row in speed.rows:
        if row.figures is not None:
            yield Bar(
                name=f"{_name(row)}, {row.precision}",
                latency_ms_p50=row.figures.latency_ms_p50,
                latency_ms_p95=row.figures.latency_ms_p95,
                is_ours=row.framework == "resnext",
            )


def _name(row: Row) -> str:
    return f"{row.name} (auto)" if row.is_auto else row.name


def _print_table(console: "Console", title: str, speed: Speed) -> None:
    rows = table(title, *_COLUMNS)
    for row in speed.rows:
        if row.figures is not None:
            rows.add_row(_name(row), row.precision, *_figures(row))
    console.print(rows)
    num_threads = torch.get_num_threads()
    place = (
        f"{num_threads} thread{'s' * (num_threads > 1)}, torch {torch.__version__}, {processor(torch.device('cpu'))}"
    )
    console.print(f"\nms and images/s: of all calls in {speed.num_rounds} rounds; {place}")
    console.print(f"times as fast as {speed.reference.name}, within rounds; (auto): what engine auto takes")
    for ceiling in speed.ceilings:
        console.print(
            f"ceiling {ceiling.precision}: {ceiling.gflops_per_second:,.0f} GFLOP/s, {SIDE}x{SIDE} matrices multiplied"
            f" by {ceiling.computed_by}"
        )
    console.print(f"ceiling of memory: {speed.copy_gbytes_per_second:,.1f} GB/s read and written by a large copy")
    if any(row.memory for row in speed.rows):
        console.print(
            "MB: the most while it runs, and while it is made, beside Python, torch and torchvision themselves"
        )
    for reason in dict.fromkeys(row.reason for row in speed.rows if row.reason):
        names = [f"{row.name} {row.precision}" for row in speed.rows if row.reason == reason]
        console.print(f"left out: {'; '.join(names)}: {reason}")
    if missing := [precision for precision in DTYPES if precision not in precisions_here()]:
        console.print(f"{', '.join(missing)}: left out, this processor has no instructions for it")


def _print_of_files(console: "Console", files: Sequence[Contestant], speed: Speed) -> None:
    """Say what the rows of exported files compare with, and how far rounding to integers moves logits."""
    if others := [file.setting for file in files if not file.has_same_weights]:
        console.print(
            f"all but {', '.join(others)}: the same network with initial weights, which are as fast; logits are not"
            " compared"
        )
    for row in speed.rows:
        if row.precision == "int8" and row.relative_error is not None:
            console.print(
                f"{row.setting}: int8 moves logits by {100 * row.relative_error:.2g} % on these random pixels; resnext"
                " evaluate tells what that costs"
            )


def _figures(row: Row) -> Iterator[str]:
    assert row.figures is not None
    figures, gain = row.figures, row.figures.times_as_fast
    yield f"{figures.latency_ms_p50:.3g}"
    yield f"{figures.latency_ms_p95:.3g}"
    yield (
        f"{figures.images_per_second:,.3g}" if figures.images_per_second < 1000 else f"{figures.images_per_second:,.0f}"
    )
    yield f"{gain.median:.2f} ({gain.low:.2f} to {gain.high:.2f})"
    yield "-" if figures.ceiling_fraction is None else f"{100 * figures.ceiling_fraction:.0f} %"
    for num_bytes in (row.memory.running_bytes, row.memory.making_bytes) if row.memory else (None, None):
        yield "-" if num_bytes is None else f"{num_bytes / 1e6:,.0f}"


def _as_json(name: str, workload: Workload, speed: Speed) -> dict[str, Any]:
    return {
        "subject": name,
        "batch_size": workload.example.shape[0],
        "image_size": workload.example.shape[-1],
        "num_threads": torch.get_num_threads(),
        "processor": processor(torch.device("cpu")),
        "versions": {
            **versions(),
            **{package: import_module(package).__version__ for package in _PACKAGES if find_spec(package)},
        },
        "left_out": [precision for precision in DTYPES if precision not in precisions_here()],
        **asdict(speed),
    }
