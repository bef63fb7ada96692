"""`resnext train --dry-run`: what a run would be and take, and what its images would look like."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from resnext.cli.console import messages, results, table, thousands
from resnext.cli.task import print_task
from resnext.report.words import duration

if TYPE_CHECKING:
    from rich.console import Console

    from resnext.training.conduct import Conduct
    from resnext.training.footprint import Footprint
    from resnext.training.forecast import Duration, Forecast
    from resnext.training.machine import Machine
    from resnext.training.task import Task
    from resnext.training.world import World

_DEFAULT_SHEET = Path("augmented.png")


@dataclass(frozen=True, slots=True, kw_only=True)
class DryRun:
    """A dry run: the run that would be conducted, the file of the sheet, and whether to print JSON.

    Raises `ValueError` on a sheet that is no PNG file in a folder that is there, and on a run to be gone on with.
    """

    conduct: "Conduct"
    machine: "Machine"
    sheet: Path
    as_json: bool

    def __post_init__(self) -> None:
        if self.conduct.resumes:
            raise ValueError("--dry-run forecasts a whole run, from its beginning; leave out --resume")
        if self.sheet.suffix.lower() != ".png":
            raise ValueError(f"--sheet {self.sheet}: the sheet is a PNG file; give a name that ends in .png")
        if not self.sheet.parent.is_dir():
            raise ValueError(f"--sheet {self.sheet}: the folder {self.sheet.parent} is not there; make it first")


def plan(conduct: "Conduct", machine: "Machine", sheet: Path | None, *, is_dry: bool, as_json: bool) -> DryRun | None:
    """Return the dry run that options ask for; None where they ask for a real one.

    Raises `ValueError` on options that belong to a dry run and are given without it.
    """
    if is_dry:
        return DryRun(conduct=conduct, machine=machine, sheet=sheet or _DEFAULT_SHEET, as_json=as_json)
    for option, is_given in (("--sheet", sheet is not None), ("--json", as_json)):
        if is_given:
            raise ValueError(f"{option} belongs to --dry-run; give both, or neither")
    return None


def carry_out(dry_run: DryRun, task: "Task", world: "World") -> None:
    """Show what would be trained, draw the sheet, and print the forecast; nothing is written but the sheet."""
    from resnext.training.folder import RunFolder
    from resnext.training.forecast import forecast_of

    console, machine = messages(), dry_run.machine
    folder = dry_run.conduct.folder(task.data, world)
    world.first(lambda: RunFolder(folder).check(resumes=False))
    where = str(world.device(machine.device)) if world.size == 1 else f"{world.size} processes"
    print_task(console, task, f"on {where}; a run would write {folder}, a dry run does not")
    with console.status("Drawing augmented images"):
        world.first(lambda: _draw(task, dry_run.sheet))
    console.print(f"Augmented training images: {dry_run.sheet}")
    with console.status("Measuring memory and time"):
        forecast = forecast_of(task, machine, world)
    if not dry_run.as_json:
        _print_forecast(results(), forecast, world.size)
    elif world.is_first:
        print(json.dumps({**forecast.plain(), "sheet": str(dry_run.sheet)}))


def _draw(task: "Task", sheet: Path) -> None:
    from resnext.report.sheet import save_sheet
    from resnext.training.preview import preview

    save_sheet(preview(task), sheet)


def _print_forecast(console: "Console", forecast: "Forecast", num_processes: int) -> None:
    each = "" if num_processes == 1 else ", of each process"
    console.print(
        f"{forecast.model}: {thousands(forecast.params)} parameters, {thousands(forecast.macs)} multiply-accumulates"
        f" an image; {thousands(forecast.steps_per_epoch)} steps an epoch, {thousands(forecast.num_steps)} in"
        f" {forecast.num_epochs} epochs"
    )
    _print_memory(console, forecast.memory, f"\nMemory, forecast{each}")
    if forecast.advice:
        console.print(f"{forecast.advice[0].upper()}{forecast.advice[1:]}. No time was measured.")
    if forecast.duration:
        _print_duration(console, forecast.duration)


def _print_memory(console: "Console", memory: "Footprint", title: str) -> None:
    from resnext.training.memory import in_words

    rows = (
        ("weights", memory.weights_bytes),
        ("gradients", memory.gradients_bytes),
        ("momentum", memory.momentum_bytes),
        ("average", memory.average_bytes),
        (
            f"activations of {memory.num_images} images at a time, {in_words(memory.image_bytes)} each",
            memory.activations_bytes,
        ),
        ("images loaded and kept", memory.loading_bytes),
        ("a checkpoint while it is written", memory.writing_bytes),
        ("the process as it stands", memory.process_bytes),
        ("peak, with room to work in", memory.peak_bytes),
    )
    shown = table(title, "what", "memory")
    for what, num_bytes in rows:
        if num_bytes:
            shown.add_row(what, in_words(num_bytes))
    console.print(shown)
    console.print(f"{in_words(memory.available_bytes)} of {in_words(memory.total_bytes)} are to be had")


def _print_duration(console: "Console", taken: "Duration") -> None:
    shown = table(f"\nTime, from {taken.num_timed_steps} timed steps", "what", "time")
    shown.add_row("a step", f"{1000 * taken.step_seconds:,.0f} ms")
    if taken.first_step_seconds != taken.step_seconds:
        shown.add_row(
            "a step of the first epoch, in which images are decoded", f"{1000 * taken.first_step_seconds:,.0f} ms"
        )
    shown.add_row("scoring after an epoch", duration(taken.scoring_seconds))
    shown.add_row("an epoch", duration(taken.epoch_seconds))
    shown.add_row("the run", duration(taken.run_seconds))
    console.print(shown)
    console.print(f"{taken.images_per_second:,.0f} images/s")
