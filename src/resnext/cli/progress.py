"""How a run is watched: a bar on a terminal, plain lines elsewhere."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol

from rich.progress import BarColumn, Progress, TaskID, TextColumn

from resnext.cli.console import percent
from resnext.cli.interrupt import StopRequest
from resnext.training.loop import EpochReport, Report, StepReport

if TYPE_CHECKING:
    from rich.console import Console

    from resnext.training.run import Run

_SECONDS_BETWEEN_LINES = 30.0


def follow(run: "Run", stop: StopRequest, console: "Console") -> None:
    """Train a run to its end, or until any of its processes is asked to stop; the first one shows how it goes."""
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


class _Pace:
    """Images a second, and the time left, from the steps since the start."""

    def __init__(self, run: "Run") -> None:
        self.num_steps = run.task.horizon.num_steps
        self.first_step = run.first_step
        self.started = time.perf_counter()
        self.num_images = 0
        self.training_seconds = 0.0
        self.resumed = self.started

    def step(self, report: StepReport) -> None:
        now = time.perf_counter()
        self.num_images += report.num_images
        self.training_seconds += now - self.resumed
        self.resumed = now

    def rest(self) -> None:
        """Leave the time since the last step out of the training speed: it went into scoring."""
        self.resumed = time.perf_counter()

    def images_per_second(self) -> float:
        return self.num_images / max(self.training_seconds, 1e-9)

    def left(self, step: int) -> str:
        elapsed = time.perf_counter() - self.started
        return _duration(elapsed * (self.num_steps - step) / max(1, step - self.first_step))


class _Lines:
    """A line for each epoch, and one now and then within a long one."""

    def __init__(self, run: "Run", console: "Console") -> None:
        self.console = console
        self.num_epochs = run.task.horizon.num_epochs
        self.pace = _Pace(run)
        self.last_line = time.perf_counter()

    def show(self, report: Report) -> None:
        if isinstance(report, EpochReport):
            self.pace.rest()
            self._print(f"{_epoch_line(report, self.num_epochs)}, {self.pace.left(report.step)} left")
            return
        self.pace.step(report)
        if time.perf_counter() - self.last_line > _SECONDS_BETWEEN_LINES:
            speed = f"{self.pace.images_per_second():.0f} images/s, {self.pace.left(report.step)} left"
            self._print(f"epoch {report.epoch}/{self.num_epochs} step {report.step}: loss {report.loss:.3f}, {speed}")

    def _print(self, line: str) -> None:
        self.console.print(line)
        self.last_line = time.perf_counter()


class _Bar:
    """A bar over all steps that shows loss, speed and time left, and leaves a line for each epoch above it."""

    def __init__(self, run: "Run", progress: Progress) -> None:
        self.progress = progress
        self.num_epochs = run.task.horizon.num_epochs
        self.pace = _Pace(run)
        self.errors = ""
        self.task: TaskID = progress.add_task("starting", total=self.pace.num_steps, completed=run.first_step, speed="")

    def show(self, report: Report) -> None:
        if isinstance(report, EpochReport):
            self.pace.rest()
            train, held_out = report.train_top1_error_percent, report.scores.top1_error_percent
            self.errors = f"  errors {percent(train)} % train, {percent(held_out)} % held out"
            self.progress.console.print(_epoch_line(report, self.num_epochs))
            return
        self.pace.step(report)
        self.progress.update(
            self.task,
            completed=report.step,
            description=f"epoch {report.epoch}/{self.num_epochs}  loss {report.loss:.3f}{self.errors}",
            speed=f"{self.pace.images_per_second():.0f} images/s  {self.pace.left(report.step)} left",
        )


def _epoch_line(report: EpochReport, num_epochs: int) -> str:
    top1 = percent(report.scores.top1_error_percent)
    return (
        f"epoch {report.epoch}/{num_epochs}: train loss {report.train_loss:.3f}, error"
        f" {percent(report.train_top1_error_percent)} %; held-out loss {report.scores.loss:.3f}, error {top1} %;"
        f" {report.images_per_second:.0f} images/s"
    )


def _duration(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"
