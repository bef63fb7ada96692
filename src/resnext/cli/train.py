"""`resnext train`."""

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from resnext.cli.options import DataArgument, DeviceOption, DownloadOption, StrictOption, ThreadsOption

if TYPE_CHECKING:
    from rich.console import Console

    from resnext.data.dataset import Data
    from resnext.spec.resolve import Choice
    from resnext.training.machine import Machine
    from resnext.training.run import Result, Run
    from resnext.training.task import Task

_MOST_PROBLEMS = 20


class Form(StrEnum):
    """The three equivalent forms of the block."""

    aggregated = "aggregated"
    concatenated = "concatenated"
    grouped = "grouped"


class Precision(StrEnum):
    """The types of numbers to train with."""

    fp32 = "fp32"
    fp64 = "fp64"


RecipeOption = Annotated[str, typer.Option(help="A recipe's name, or a TOML file.")]
ModelOption = Annotated[str | None, typer.Option(help="A network's name, such as resnext50_32x4d.")]
SetOption = Annotated[
    list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Change a field of the recipe.")
]
OutOption = Annotated[Path | None, typer.Option(help="The run folder; a new one under runs/ if left out.")]
SeedOption = Annotated[int, typer.Option(min=0, help="Fixes weights, order and augmentation.")]
FormOption = Annotated[Form, typer.Option(help="The form of the blocks; all compute the same.")]
PrecisionOption = Annotated[Precision, typer.Option(help="The type of weights and activations.")]


def train(
    data: DataArgument,
    recipe: RecipeOption = "quick",
    model: ModelOption = None,
    settings: SetOption = None,
    out: OutOption = None,
    seed: SeedOption = 0,
    form: FormOption = Form.grouped,
    precision: PrecisionOption = Precision.fp32,
    device: DeviceOption = "auto",
    threads: ThreadsOption = None,
    download: DownloadOption = False,
    strict: StrictOption = False,
) -> None:
    """Train a classifier on images.

    Writes a run folder with the resolved recipe, a log, and the best and the last artefact.
    """
    from rich.text import Text

    from resnext.cli.console import messages
    from resnext.data.open import open_data
    from resnext.spec.override import parse_overrides
    from resnext.spec.recipe import read_recipe
    from resnext.training.machine import Machine
    from resnext.training.task import Task, adapt

    overrides = parse_overrides([*(settings or []), *([f"model={model}"] if model else [])])
    wanted = read_recipe(recipe, overrides)
    machine = Machine(device=device, num_threads=threads, precision=precision.value, form=form.value)
    machine.torch_device()
    with messages().status(Text(f"Reading {data}")):
        opened = open_data(data, download=download, strict=strict)
    resolved, choices = adapt(wanted, opened, machine)
    _carry_out(Task(data=opened, recipe=resolved, seed=seed), out, (machine, choices))


def _carry_out(task: "Task", out: Path | None, given: "tuple[Machine, tuple[Choice, ...]]") -> None:
    """Run a task in sight of the user; a first Ctrl-C keeps what was learnt and ends with status 130."""
    from resnext.cli.console import messages, results
    from resnext.cli.interrupt import stop_request
    from resnext.cli.progress import follow
    from resnext.training.run import Run, default_folder

    machine, choices = given
    run = Run(task, out or default_folder(task.data), machine)
    _print_start(messages(), run, choices)
    with stop_request() as stop:
        follow(run, stop, messages())
        result = run.finish()
    _print_result(results(), task.data, result)
    if stop.is_set():
        raise typer.Exit(130)


def _print_start(console: "Console", run: "Run", choices: tuple["Choice", ...]) -> None:
    from resnext.spec.complexity import complexity

    data, recipe = run.task.data, run.task.recipe
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
    cost = complexity(recipe.network(), recipe.preprocessing().image_size)
    console.print(
        f"{recipe.network().name}: {cost.params / 1e6:.2f} M parameters, {cost.macs / 1e6:.1f} M multiply-accumulates"
        f" an image; {run.task.horizon.num_steps:,} steps on {run.device}; writing {run.folder.path}"
    )


def _shown(value: Any) -> str:
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
    console.print(f"{result.artefact}")
