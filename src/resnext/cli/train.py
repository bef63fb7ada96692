"""`resnext train`."""

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from resnext.cli.options import (
    DataArgument,
    DeviceOption,
    DownloadOption,
    QuarantineOption,
    StrictOption,
    ThreadsOption,
)

if TYPE_CHECKING:
    from rich.console import Console

    from resnext.artefact.manifest import Calibration
    from resnext.data.dataset import Data
    from resnext.spec.recipe import Recipe
    from resnext.training.record import Result
    from resnext.training.run import Run
    from resnext.training.task import Task

_MOST_PROBLEMS, _MOST_SHOWN = 20, 8
_FEW_IMAGES = 10_000


class Form(StrEnum):
    """The three equivalent forms of the block."""

    aggregated = "aggregated"
    concatenated = "concatenated"
    grouped = "grouped"


class Precision(StrEnum):
    """The types of numbers to train with."""

    auto = "auto"
    fp32 = "fp32"
    fp64 = "fp64"
    bf16 = "bf16"
    fp16 = "fp16"


RecipeOption = Annotated[str, typer.Option(help="A recipe's name, or a TOML file.")]
ModelOption = Annotated[str | None, typer.Option(help="A network's name, such as resnext50_32x4d.")]
SetOption = Annotated[
    list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Change a field of the recipe.")
]
FromOption = Annotated[
    str | None,
    typer.Option(
        "--from",
        metavar="WEIGHTS",
        help="Start from trained weights: an artefact or a state dict, torchvision:WEIGHTS or hf:REPO.",
    ),
]
OutOption = Annotated[Path | None, typer.Option(help="The run folder; a new one under runs/ if left out.")]
SeedOption = Annotated[int, typer.Option(min=0, help="Fixes weights, order and augmentation.")]
FormOption = Annotated[Form, typer.Option(help="The form of the blocks; all compute the same.")]
PrecisionOption = Annotated[
    Precision, typer.Option(help="bf16 and fp16 mix with fp32; auto: mixed on a GPU, fp32 on a CPU.")
]
ResumeOption = Annotated[
    bool, typer.Option("--resume", help="Go on where the run in --out stopped; begin it where none did.")
]
IntervalOption = Annotated[
    str, typer.Option("--checkpoint-every", help="Steps, or a time such as 10min; also at the end of each epoch.")
]
MicroBatchOption = Annotated[
    int | None, typer.Option("--micro-batch", min=1, help="The most images computed at a time; changes memory only.")
]
UnreadableOption = Annotated[
    int | None,
    typer.Option("--max-unreadable", min=0, help="Unreadable images a run bears. Default: 1 in 100, at least 10."),
]
CompileOption = Annotated[bool, typer.Option("--compile", help="Compile the network first, with torch.compile.")]
DeterministicOption = Annotated[
    bool, typer.Option("--deterministic", help="Refuse operations that differ from run to run.")
]


def train(
    data: DataArgument,
    recipe: RecipeOption = "quick",
    model: ModelOption = None,
    settings: SetOption = None,
    from_: FromOption = None,
    out: OutOption = None,
    seed: SeedOption = 0,
    resume: ResumeOption = False,
    checkpoint_every: IntervalOption = "10min",
    form: FormOption = Form.grouped,
    precision: PrecisionOption = Precision.auto,
    device: DeviceOption = "auto",
    threads: ThreadsOption = None,
    micro_batch: MicroBatchOption = None,
    compile_: CompileOption = False,
    deterministic: DeterministicOption = False,
    max_unreadable: UnreadableOption = None,
    download: DownloadOption = False,
    strict: StrictOption = False,
    quarantine: QuarantineOption = None,
) -> None:
    """Train a classifier on images.

    Writes a run folder with the resolved recipe, a log, checkpoints, the best and the last artefact, and a report to
    look at. Ctrl-C and SIGTERM keep what was learnt and end with status 130 and 143. Started by torchrun, many
    processes train one run.
    """
    from resnext.artefact.weights import open_weights
    from resnext.training.checkpoint import Interval
    from resnext.training.journal import Conduct
    from resnext.training.machine import Machine
    from resnext.training.run import Run
    from resnext.training.task import Task, adapt
    from resnext.training.world import join_world

    wanted = _wanted(recipe, model, settings)
    conduct = Conduct(out=out, resumes=resume, interval=Interval.parse(checkpoint_every), max_unreadable=max_unreadable)
    machine = Machine(
        device=device,
        num_threads=threads,
        precision=precision.value,
        form=form.value,
        micro_batch_size=micro_batch,
        compiles=compile_,
        is_deterministic=deterministic,
    )
    machine.torch_device()
    with join_world() as world:
        opened = world.first_before_others(
            lambda: _opened(data, download=download, strict=strict, quarantine=quarantine)
        )
        weights = world.first_before_others(lambda: open_weights(from_)) if from_ else None
        resolved, choices = world.first(lambda: adapt(wanted, opened, machine, weights))
        task = Task(data=opened, recipe=resolved, seed=seed, choices=choices, weights=weights)
        _carry_out(Run(task, conduct, machine, world))


def _wanted(recipe: str, model: str | None, settings: list[str] | None) -> "Recipe":
    from resnext.spec.override import parse_overrides
    from resnext.spec.recipe import read_recipe

    return read_recipe(recipe, parse_overrides([*(settings or []), *([f"model={model}"] if model else [])]))


def _opened(data: str, *, download: bool, strict: bool, quarantine: Path | None) -> "Data":
    from rich.text import Text

    from resnext.cli.console import messages
    from resnext.data.open import open_data

    with messages().status(Text(f"Reading {data}")):
        return open_data(data, download=download, strict=strict, quarantine=quarantine)


def _carry_out(run: "Run") -> None:
    """Carry a run out in sight of the user; Ctrl-C and SIGTERM keep what was learnt."""
    from resnext.cli.console import messages, results
    from resnext.cli.interrupt import stop_request
    from resnext.cli.progress import follow

    _print_start(messages(), run)
    with stop_request(speaks=run.world.is_first) as stop:
        follow(run, stop, messages())
        num_seen = len(run.problems)
        result = run.finish()
    for problem in run.problems[num_seen:]:
        messages().print(f"  {problem}")
    if run.folder.report.exists():
        messages().print(f"Report: {run.folder.report}")
    _print_result(results(), run.task.data, result)
    if stop.is_set() and not run.is_whole:
        done = f"{run.state.step:,} of {run.task.horizon.num_steps:,} steps"
        messages().print(f"Stopped after {done}; --out {run.folder.path} --resume goes on.")
        raise typer.Exit(stop.status)


def _print_start(console: "Console", run: "Run") -> None:
    from resnext.spec.complexity import complexity
    from resnext.spec.departures import rate_departure

    data, recipe, choices = run.task.data, run.task.recipe, run.task.choices
    splits = ", ".join(f"{len(split.labels):,} {name}" for name, split in data.splits.items())
    console.print(f"{data.source}: {len(data.class_names)} classes, {splits}")
    for problem in data.problems[:_MOST_PROBLEMS]:
        console.print(f"  {problem}")
    if len(data.problems) > _MOST_PROBLEMS:
        console.print(f"  and {len(data.problems) - _MOST_PROBLEMS} more, all in events.jsonl")
    if choices:
        console.print(f"Recipe {recipe.name} chose, and --set changes:")
    for choice in choices:
        console.print(f"  {choice.field} = {_shown(choice.value)}: {choice.why}")
    _print_origin(console, run.task)
    cost = complexity(recipe.network(), recipe.preprocessing().image_size)
    console.print(
        f"{recipe.network().name}: {cost.params / 1e6:.2f} M parameters, {cost.macs / 1e6:.1f} M multiply-accumulates"
        f" an image; {run.task.horizon.num_steps:,} steps on {_place(run)}; writing {run.folder.path}"
    )
    is_own_rate = all(choice.field != "optimiser.learning_rate" for choice in choices)
    if is_own_rate and (departure := rate_departure(recipe)):
        console.print(f"  {departure}")
    for sentence in run.journal.passed_over:
        console.print(f"  {sentence}")
    if run.first_step:
        console.print(f"Going on after step {run.first_step:,}, in epoch {run.state.epoch}")


def _print_origin(console: "Console", task: "Task") -> None:
    """Say what training starts from; where that is nothing and images are few, how to do better."""
    start, num_images = task.start, len(task.data.split("train").labels)
    if start is not None:
        classes = "the same classes: its head stays" if start.keeps_head else "a new head for the classes of the data"
        console.print(f"Starting from {start.origin} ({start.architecture.name}, {start.digest[:12]}); {classes}")
    elif task.recipe.name == "quick" and num_images < _FEW_IMAGES and not task.data.is_handwriting:
        console.print(
            f"From {num_images:,} images, starting from trained weights usually does better: --from ARTEFACT, or --from"
            " torchvision:resnext50_32x4d, which fetches them"
        )


def _place(run: "Run") -> str:
    return str(run.device) if run.world.size == 1 else f"{run.world.size} processes, {run.device.type}"


def _shown(value: Any) -> str:
    if isinstance(value, dict) and len(value) > _MOST_SHOWN:
        least, most = min(value, key=value.__getitem__), max(value, key=value.__getitem__)
        return f"{len(value)} values from {least} {value[least]} to {most} {value[most]}"
    if isinstance(value, dict):
        return ", ".join(f"{key} {_shown(item)}" for key, item in value.items())
    return str(value).lower() if isinstance(value, bool) else str(value)


def _print_result(console: "Console", data: "Data", result: "Result") -> None:
    from resnext.cli.console import percent

    def line(title: str, measurement: Any) -> None:
        if measurement is not None:
            top5 = measurement.top5_error_percent
            console.print(
                f"{title}: top-1 error {percent(measurement.top1_error_percent)} %"
                + (f", top-5 {percent(top5)} %" if top5 is not None else "")
                + f", loss {measurement.loss:.4f}, on {measurement.num_images:,} {measurement.split} images"
            )

    chosen_on = "chosen on the test set, as the authors do" if data.selection == "test" else "chosen on validation"
    line(f"best epoch {result.best_epoch} ({chosen_on})", result.best)
    line(f"last epoch {result.num_epochs}", result.last)
    line("best epoch, test scored once", result.test)
    console.print(_calibrated(result.calibration))
    console.print(f"{result.artefact}")


def _calibrated(calibration: "Calibration | str") -> str:
    from resnext.cli.console import percent

    if isinstance(calibration, str):
        return f"not calibrated: {calibration}"
    before, after = percent(calibration.ece_before_percent), percent(calibration.ece_after_percent)
    return (
        f"calibrated: temperature {calibration.temperature:.3f}, expected calibration error {before} % before and"
        f" {after} % after, on the {calibration.num_images:,} {calibration.split} images that it was fitted on"
    )
