"""How a run is watched: a bar on a terminal, plain lines elsewhere."""

import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol

from rich.progress import BarColumn, Progress, TaskID, TextColumn

from resnext.cli.interrupt import StopRequest
from resnext.report.words import duration, percent
from resnext.training.loop import EpochReport, Report
from resnext.training.pace import Pace, length_of

if TYPE_CHECKING:
    from rich.console import Console

    from resnext.training.run import Run

_SECONDS_BETWEEN_LINES = 30.0


def follow(run: "Run", stop: StopRequest, console: "Console", deadline: float = math.inf) -> None:
    """Train a run to its end, or until any of its processes is asked to stop; the first one shows how it goes.

    A run of one process also stops at a `deadline`, by `time.perf_counter`.
    """
    num_seen = len(run.problems)
    with _view(run, console) as view:
        for report in run:
            view.show(report)
            for problem in run.problems[num_seen:]:
                console.print(f"  {problem}")
            num_seen = len(run.problems)
            if asked := run.world.greatest(stop.signal or 0):
                stop.signal = asked
                break
            if time.perf_counter() > deadline:
                break


class _View(Protocol):
    def show(self, report: Report) -> None: ...


@contextmanager
def _view(run: "Run", console: "Console") -> Iterator[_View]:
    if not run.world.is_first or not console.is_terminal:
        yield _Lines(run, console)
        return
    columns = (TextColumn("{task.description}"), BarColumn(bar_width=None), TextColumn("{task.fields[speed]}"))
    with Progress(*columns, console=console, transient=True) as progress:
        yield _Bar(run, progress)


def _pace(run: "Run") -> Pace:
    num_scorings = run.state.epoch if run.state.is_epoch_done else run.state.epoch - 1
    return Pace(length_of(run.task), time.perf_counter(), run.first_step, num_scorings)


class _Lines:
    """A line for each epoch, and one now and then within a long one."""

    def __init__(self, run: "Run", console: "Console") -> None:
        self.console = console
        self.num_epochs = run.task.horizon.num_epochs
        self.pace = _pace(run)
        self.last_line = time.perf_counter()

    def show(self, report: Report) -> None:
        if isinstance(report, EpochReport):
            self.pace.score(time.perf_counter())
            self._print(f"{_epoch_line(report, self.num_epochs)}, {_left(self.pace)}")
            return
        self.pace.take_step(time.perf_counter(), report.wait_seconds)
        if time.perf_counter() - self.last_line > _SECONDS_BETWEEN_LINES:
            speed = f"{self.pace.images_per_second:.0f} images/s, {_left(self.pace)}"
            self._print(f"epoch {report.epoch}/{self.num_epochs} step {report.step}: loss {report.loss:.3f}, {speed}")

    def _print(self, line: str) -> None:
        self.console.print(line)
        self.last_line = time.perf_counter()


class _Bar:
    """A bar over all steps that shows loss, speed and time left, and leaves a line for each epoch above it."""

    def __init__(self, run: "Run", progress: Progress) -> None:
        self.progress = progress
        self.num_epochs = run.task.horizon.num_epochs
        self.pace = _pace(run)
        self.errors = ""
        self.task: TaskID = progress.add_task(
            "starting", total=self.pace.length.num_steps, completed=run.first_step, speed=""
        )

    def show(self, report: Report) -> None:
        if isinstance(report, EpochReport):
            self.pace.score(time.perf_counter())
            train, held_out = report.train_top1_error_percent, report.scores.top1_error_percent
            self.errors = f"  errors {percent(train)} % train, {percent(held_out)} % held out"
            self.progress.console.print(_epoch_line(report, self.num_epochs))
            return
        self.pace.take_step(time.perf_counter(), report.wait_seconds)
        self.progress.update(
            self.task,
            completed=report.step,
            description=f"epoch {report.epoch}/{self.num_epochs}  loss {report.loss:.3f}{self.errors}",
            speed=f"{self.pace.images_per_second:.0f} images/s  {_left(self.pace)}",
        )


def _epoch_line(report: EpochReport, num_epochs: int) -> str:
    top1 = percent(report.scores.top1_error_percent)
    return (
        f"epoch {report.epoch}/{num_epochs}: train loss {report.train_loss:.3f}, error"
        f" {percent(report.train_top1_error_percent)} %; held-out loss {report.scores.loss:.3f}, error {top1} %;"
        f" {report.images_per_second:.0f} images/s"
    )


def _left(pace: Pace) -> str:
    seconds = pace.seconds_left
    return "time left not known yet" if seconds is None else f"{duration(seconds)} left"
