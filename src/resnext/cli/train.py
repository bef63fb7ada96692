"""`resnext train`."""

from enum import StrEnum
from functools import partial
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
    from resnext.artefact.weights import Weights
    from resnext.data.dataset import Data
    from resnext.spec.recipe import Recipe
    from resnext.training.record import Result
    from resnext.training.run import Run
    from resnext.training.task import Task


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
CacheOption = Annotated[
    Path | None,
    typer.Option(metavar="FOLDER", help="Keep small images decoded in a file there, for later epochs and runs."),
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
FuseOption = Annotated[
    bool, typer.Option("--fuse", help="Keep no output of batch norm and ReLU for the backward pass: less memory.")
]
SaveMemoryOption = Annotated[
    bool, typer.Option("--save-memory", help="Keep still less than --fuse, and convolve a part of it twice.")
]
DeterministicOption = Annotated[
    bool, typer.Option("--deterministic", help="Refuse operations that differ from run to run.")
]
DryRunOption = Annotated[
    bool, typer.Option("--dry-run", help="Train nothing: forecast memory and time, and draw augmented images.")
]
SheetOption = Annotated[
    Path | None, typer.Option(help="The PNG file of a dry run's augmented images; augmented.png if left out.")
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print a dry run's forecast as one JSON object.")]


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
    fuse: FuseOption = False,
    save_memory: SaveMemoryOption = False,
    deterministic: DeterministicOption = False,
    max_unreadable: UnreadableOption = None,
    download: DownloadOption = False,
    strict: StrictOption = False,
    quarantine: QuarantineOption = None,
    cache: CacheOption = None,
    is_dry: DryRunOption = False,
    sheet: SheetOption = None,
    as_json: JsonOption = False,
) -> None:
    """Train a classifier on images.

    Writes a run folder with the resolved recipe, a log, checkpoints, the best and the last artefact, and a report to
    look at. Ctrl-C and SIGTERM keep what was learnt and end with status 130 and 143. Started by torchrun, many
    processes train one run.
    """
    from resnext.cli import dry_run
    from resnext.training.checkpoint import Interval
    from resnext.training.conduct import Conduct
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
        fuses=fuse,
        saves_memory=save_memory,
        is_deterministic=deterministic,
    )
    machine.torch_device()
    _check_cache(cache, wanted, is_dry=is_dry)
    planned = dry_run.plan(conduct, machine, sheet, is_dry=is_dry, as_json=as_json)
    opening = partial(_opened, data, cache, download=download, strict=strict, quarantine=quarantine)
    with join_world() as world:
        opened = world.first_before_others(opening)
        weights = world.first_before_others(partial(_weights, from_)) if from_ else None
        resolved, choices = world.first(lambda: adapt(wanted, opened, machine, weights))
        task = Task(data=opened, recipe=resolved, seed=seed, choices=choices, weights=weights)
        if planned is not None:
            dry_run.carry_out(planned, task, world)
        else:
            _carry_out(Run(task, conduct, machine, world))


def _wanted(recipe: str, model: str | None, settings: list[str] | None) -> "Recipe":
    from resnext.spec.override import parse_overrides
    from resnext.spec.recipe import read_recipe

    return read_recipe(recipe, parse_overrides([*(settings or []), *([f"model={model}"] if model else [])]))


def _opened(data: str, cache: Path | None, *, download: bool, strict: bool, quarantine: Path | None) -> "Data":
    from rich.text import Text

    from resnext.cli.console import messages
    from resnext.data.open import open_data

    with messages().status(Text(f"Reading {data}")):
        opened = open_data(data, download=download, strict=strict, quarantine=quarantine)
    return opened if cache is None else _packed(opened, cache)


def _weights(named: str) -> "Weights":
    from resnext.artefact.weights import open_weights

    return open_weights(named)


def _check_cache(cache: Path | None, recipe: "Recipe", *, is_dry: bool) -> None:
    """Refuse a cache with what could not use it. Raises `ValueError`."""
    if cache is None:
        return
    if recipe.augmentation.decoding == "fast":
        raise ValueError(f"--cache {cache}: augmentation.decoding = 'fast' decodes images anew; leave out one of both")
    if is_dry:
        raise ValueError(f"--cache {cache}: --dry-run writes nothing but its sheet; leave out one of both")


def _packed(data: "Data", folder: Path) -> "Data":
    from rich.text import Text

    from resnext.cli.console import messages
    from resnext.data.packed import pack
    from resnext.training.memory import in_words

    with messages().status(Text(f"Packing {data.source}")):
        packed, file = pack(data, folder)
    messages().print(
        f"Images {'packed now' if file.is_new else 'as packed before'}: {file.path}, {in_words(file.num_bytes)}"
    )
    return packed


def _carry_out(run: "Run") -> None:
    """Carry a run out in sight of the user; Ctrl-C and SIGTERM keep what was learnt."""
    from resnext.cli.console import messages, results
    from resnext.cli.interrupt import stop_request
    from resnext.cli.progress import follow
    from resnext.training.learner import NonFiniteLossError

    _print_start(messages(), run)
    with stop_request(speaks=run.world.is_first) as stop:
        try:
            follow(run, stop, messages())
        except NonFiniteLossError:
            run.finish()
            raise
        num_seen = len(run.problems)
        with messages().status("Scoring and reporting"):
            result = run.finish()
    for problem in run.problems[num_seen:]:
        messages().print(f"  {problem}")
    if run.folder.report.exists():
        messages().print(f"Report: {run.folder.report}")
    _print_result(results(), run.task, result)
    if stop.is_set() and not run.is_whole:
        done = f"{run.state.step:,} of {run.task.horizon.num_steps:,} steps"
        messages().print(f"Stopped after {done}; --out {run.folder.path} --resume goes on.")
        raise typer.Exit(stop.status)


def _print_start(console: "Console", run: "Run") -> None:
    from resnext.cli.task import print_task

    print_task(console, run.task, f"on {_place(run)}; writing {run.folder.path}")
    for sentence in run.journal.passed_over:
        console.print(f"  {sentence}")
    if run.first_step:
        console.print(f"Going on after step {run.first_step:,}, in epoch {run.state.epoch}")


def _place(run: "Run") -> str:
    return str(run.device) if run.world.size == 1 else f"{run.world.size} processes, {run.device.type}"


def _print_result(console: "Console", task: "Task", result: "Result") -> None:
    from resnext.report.words import percent

    def line(title: str, measurement: Any) -> None:
        if measurement is not None:
            top5 = measurement.top5_error_percent
            console.print(
                f"{title}: top-1 error {percent(measurement.top1_error_percent)} %"
                + (f", top-5 {percent(top5)} %" if top5 is not None else "")
                + f", loss {measurement.loss:.4f}, on {measurement.num_images:,} {measurement.split} images"
            )

    if task.recipe.selection == "last":
        kept, why = "kept epoch", "the last that was scored"
    else:
        is_on_test = task.data.selection == "test"
        kept, why = "best epoch", "chosen on the test set, as the authors do" if is_on_test else "chosen on validation"
    line(f"{kept} {result.best_epoch} ({why})", result.best)
    line(f"last epoch {result.num_epochs}", result.last)
    line(f"{kept}, test scored once", result.test)
    console.print(_calibrated(result.calibration))
    console.print(f"{result.artefact}")


def _calibrated(calibration: "Calibration | str") -> str:
    from resnext.report.words import percent

    if isinstance(calibration, str):
        return f"not calibrated: {calibration}"
    before, after = percent(calibration.ece_before_percent), percent(calibration.ece_after_percent)
    return (
        f"calibrated: temperature {calibration.temperature:.3f}, expected calibration error {before} % before and"
        f" {after} % after, on the {calibration.num_images:,} {calibration.split} images that it was fitted on"
    )
