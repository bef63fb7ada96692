"""A run tried out: its own steps and scorings, measured, in a folder that is thrown away."""

import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from statistics import fmean
from tempfile import TemporaryDirectory

from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks

from resnext.data.stream import Stream
from resnext.data.views import Selected
from resnext.model.network import Network
from resnext.spec.recipe import chosen
from resnext.training.conduct import Conduct
from resnext.training.loop import Course, StepReport, epochs
from resnext.training.machine import Machine
from resnext.training.run import Run
from resnext.training.task import Task
from resnext.training.world import World

_NUM_WARM_UP_STEPS = 2
_MIN_STEPS, _SECONDS, _MOST_SECONDS = 3, 4.0, 20.0
_NUM_SCORED_BATCHES, _NUM_SCORINGS = 2, 2


@contextmanager
def rehearsal(task: Task, machine: Machine, world: World) -> Iterator[Run]:
    """Yield a run of a task that is never finished, in a temporary folder; frozen epochs are left out.

    Unreadable images do not end it.
    """
    recipe = task.recipe.replace(fine_tuning={**task.recipe.fine_tuning.model_dump(), "frozen_epochs": 0})
    place = TemporaryDirectory(prefix="resnext-") if world.is_first else None
    folder = world.first(lambda: Path(place.name if place else "") / "run")
    try:
        conduct = Conduct(out=folder, max_unreadable=sys.maxsize)
        run = Run(replace(task, recipe=recipe), conduct, machine, world)
        try:
            yield run
        finally:
            run.folder.release()
    finally:
        if place is not None:
            place.cleanup()


@dataclass(frozen=True, slots=True)
class Saved:
    """The bytes that autograd keeps from the forward to the backward pass of so many images, without parameters."""

    num_images: int
    num_bytes: int


def saved_for_backward(task: Task, machine: Machine, world: World, num_images: int) -> Saved:
    """Take one step on a few images for each process, an even number, and count what autograd keeps meanwhile."""
    group = None if task.recipe.batch_norm_images is None else 2
    few = task.recipe.replace(batch_size=num_images * world.size, batch_norm_images=group)
    plain = replace(machine, micro_batch_size=None, compiles=False)
    with rehearsal(replace(task, recipe=few), plain, world) as run:
        held = _addresses(run.state.network)
        kept: dict[int, int] = {}

        def pack(tensor: Tensor) -> Tensor:
            storage = tensor.untyped_storage()
            if storage.data_ptr() not in held:
                kept[storage.data_ptr()] = storage.nbytes()
            return tensor

        with closing(epochs(run.course())) as reports, saved_tensors_hooks(pack, lambda tensor: tensor):
            report = next(reports)
    assert isinstance(report, StepReport), "an epoch has its steps first"
    return Saved(report.num_images // world.size, sum(kept.values()))


def _addresses(network: Network) -> set[int]:
    return {tensor.untyped_storage().data_ptr() for tensor in (*network.parameters(), *network.buffers())}


@dataclass(frozen=True, slots=True, kw_only=True)
class StepTime:
    """The mean seconds of a step, those of them without a batch, and over how many steps that was measured."""

    seconds: float
    wait_seconds: float
    num_steps: int


def time_steps(run: Run, course: Course) -> StepTime:
    """Time some steps of the first epoch from its beginning; again on the same course, on the same images.

    The first steps are left out: in them convolutions are chosen, and batches were made ahead while none was asked for.
    """
    run.machine.settle()
    state = run.state
    state.epoch, state.step, state.is_epoch_done = 0, 0, True
    num_warm_up = _NUM_WARM_UP_STEPS + run.machine.num_loader_threads
    times, waits = [], []
    since = time.perf_counter()
    with closing(epochs(course)) as reports:
        for report in islice(reports, course.horizon.steps_per_epoch):
            assert isinstance(report, StepReport), "an epoch has its steps first"
            now = time.perf_counter()
            times.append(now - since)
            waits.append(report.wait_seconds)
            since = now
            if run.world.first(lambda: _is_enough(times[num_warm_up:])):
                break
    left_out = num_warm_up if len(times) > num_warm_up else len(times) // 2
    return StepTime(
        seconds=fmean(times[left_out:]), wait_seconds=fmean(waits[left_out:]), num_steps=len(times) - left_out
    )


def _is_enough(times: Sequence[float]) -> bool:
    return (len(times) >= _MIN_STEPS and sum(times) >= _SECONDS) or sum(times) >= _MOST_SECONDS


def scored_in_part(task: Task) -> Task:
    """Return the task with few images, spread over the split, to choose the best epoch on; the first of a stream."""
    split = task.data.split(task.data.selection)
    num_images = len(split.labels)
    few = min(num_images, _NUM_SCORED_BATCHES * chosen(task.recipe.batch_size, "batch_size"))
    part = (
        split.stretch(0, few)
        if isinstance(split, Stream)
        else Selected(split, [number * num_images // few for number in range(few)])
    )
    return replace(task, data=replace(task.data, splits={**task.data.splits, task.data.selection: part}))


def time_scoring(run: Run, course: Course) -> float:
    """Return the mean seconds in which an image is scored, after a first scoring that is left out."""
    run.state.network.eval()
    course.score()
    began = time.perf_counter()
    num_images = sum(course.score().num_images for _ in range(_NUM_SCORINGS))
    return (time.perf_counter() - began) / num_images


def time_writing(run: Run) -> float:
    """Return the seconds in which a checkpoint is written."""
    began = time.perf_counter()
    run.journal.checkpoint(run.state)
    return time.perf_counter() - began
