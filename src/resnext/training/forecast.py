"""What a run would take, in memory and in time, measured on a few of its own steps before it begins."""

from dataclasses import asdict, dataclass, replace
from typing import Any

from resnext.artefact.weights import open_weights
from resnext.data.dataset import Data
from resnext.data.open import open_data
from resnext.spec.complexity import complexity
from resnext.spec.recipe import Recipe, read_recipe
from resnext.training.footprint import Footprint, advice, measure_footprint, remembered_fraction
from resnext.training.machine import Machine
from resnext.training.pace import FORWARD_COST, Length, length_of
from resnext.training.rehearsal import StepTime, rehearsal, scored_in_part, time_scoring, time_steps, time_writing
from resnext.training.task import Task, adapt
from resnext.training.world import World, join_world

_WAIT_WORTH_KNOWING = 0.05


@dataclass(frozen=True, slots=True, kw_only=True)
class Duration:
    """How long a run takes, in seconds: a step when images are decoded and later, an epoch with its scoring, and all.

    All has the scorings after the last epoch in it, see `Length`. `scoring_seconds` is that of an epoch,
    `writing_seconds` that of its checkpoint and artefacts; `num_timed_steps` is how many steps were timed.
    """

    first_step_seconds: float
    step_seconds: float
    scoring_seconds: float
    writing_seconds: float
    first_epoch_seconds: float
    epoch_seconds: float
    run_seconds: float
    images_per_second: float
    num_timed_steps: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Forecast:
    """What a run would be and take. `advice` says what to change where memory does not suffice.

    `macs` are the multiply-accumulates of a forward pass of one image. `duration` is None where memory does not
    suffice, as then nothing is timed.
    """

    model: str
    params: int
    macs: int
    num_epochs: int
    steps_per_epoch: int
    num_steps: int
    memory: Footprint
    duration: Duration | None
    advice: str | None

    def plain(self) -> dict[str, Any]:
        """Return the forecast as JSON can hold it."""
        return {**asdict(self), "memory": self.memory.plain()}


def forecast(
    data: str | Data,
    recipe: str | Recipe = "quick",
    *,
    seed: int = 0,
    machine: Machine | None = None,
    start: str | None = None,
) -> Forecast:
    """Return what `resnext.train` with the same arguments would take, in memory and in time; takes some seconds.

    A few steps and scorings are taken on real images, and forgotten. Raises as `resnext.train` does.
    """
    machine = machine or Machine()
    with join_world() as world:
        opened = world.first_before_others(lambda: open_data(data)) if isinstance(data, str) else data
        wanted = read_recipe(recipe) if isinstance(recipe, str) else recipe
        weights = None if start is None else world.first_before_others(lambda: open_weights(start))
        resolved, _ = world.first(lambda: adapt(wanted, opened, machine, weights))
        return forecast_of(Task(data=opened, recipe=resolved, seed=seed, weights=weights), machine, world)


def forecast_of(task: Task, machine: Machine, world: World) -> Forecast:
    """Return what the run of a task would take on a machine, in all the processes of a world."""
    length = length_of(task)
    cost = complexity(task.recipe.network(), task.recipe.preprocessing().image_size)
    memory = measure_footprint(task, machine, world)
    said = advice(memory, task, world)
    return Forecast(
        model=task.recipe.network().name,
        params=cost.params,
        macs=cost.macs,
        num_epochs=length.num_epochs,
        steps_per_epoch=length.steps_per_epoch,
        num_steps=length.num_steps,
        memory=memory,
        duration=None if said else _duration(task, machine, world),
        advice=said,
    )


def _duration(task: Task, machine: Machine, world: World) -> Duration:
    """Time the run's steps with images decoded, again with them remembered, then its scoring and writing."""
    remembered = remembered_fraction(task.data.split("train")) if task.remembers_images else 0.0
    with rehearsal(scored_in_part(task), machine, world) as run:
        course = run.course()
        first = time_steps(run, course)
        # The processes wait for each other in every step, so that all must take part or none.
        is_worth_knowing = world.first(
            lambda: remembered > 0 and first.wait_seconds > _WAIT_WORTH_KNOWING * first.seconds
        )
        again = time_steps(run, course) if is_worth_knowing else first
        seconds_per_scored_image = time_scoring(run, course)
        writing_seconds = 2 * time_writing(run)  # the artefacts of an epoch weigh about what its checkpoint does
        later = _partly(first, again, remembered)
    return world.first(lambda: _in_all(length_of(task), (first, later), seconds_per_scored_image, writing_seconds))


def _partly(first: StepTime, again: StepTime, fraction: float) -> StepTime:
    """Return the time of a step after the first epoch, when a part of the images is remembered."""

    def between(fresh: float, remembered: float) -> float:
        return fresh + fraction * (remembered - fresh)

    return replace(
        again,
        seconds=between(first.seconds, again.seconds),
        wait_seconds=between(first.wait_seconds, again.wait_seconds),
        num_steps=first.num_steps if again is first else first.num_steps + again.num_steps,
    )


def _in_all(
    length: Length, steps: tuple[StepTime, StepTime], seconds_per_scored_image: float, writing_seconds: float
) -> Duration:
    first, later = steps
    scoring_seconds = length.num_scored_images * seconds_per_scored_image
    after_steps = scoring_seconds + writing_seconds
    frozen_saves = (1 - FORWARD_COST) * (later.seconds - later.wait_seconds)
    num_frozen = min(length.num_epochs, length.num_frozen_epochs) * length.steps_per_epoch
    first_epoch = length.steps_per_epoch * first.seconds + after_steps
    epoch = length.steps_per_epoch * later.seconds + after_steps
    final_seconds = length.num_final_images * seconds_per_scored_image
    return Duration(
        first_step_seconds=first.seconds,
        step_seconds=later.seconds,
        scoring_seconds=scoring_seconds,
        writing_seconds=writing_seconds,
        first_epoch_seconds=first_epoch,
        epoch_seconds=epoch,
        run_seconds=first_epoch + (length.num_epochs - 1) * epoch - num_frozen * frozen_saves + final_seconds,
        images_per_second=length.images_per_step / later.seconds,
        num_timed_steps=later.num_steps,
    )
