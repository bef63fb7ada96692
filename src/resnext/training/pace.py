"""How long a run will still take, from what its steps and scorings took so far; no clock is read here."""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import islice
from statistics import fmean, median
from typing import NamedTuple

from resnext.spec.recipe import chosen
from resnext.training.task import Task

FORWARD_COST = 1 / 3  # of a step, whose backward pass costs about two forward passes

_NUM_WARM_UP_STEPS = 3
_ENOUGH_STEPS, _FEW_STEPS, _MOST_STEPS = 20, 32, 512
_STEPS_PER_SINGLE = 64
_RECENT_SCORINGS = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Length:
    """What a run consists of: epochs of steps, each followed by a scoring, and what is scored once all is learnt.

    The `num_final_images` are those of the selection split, on which the best epoch is calibrated, or at least
    examined, and of the test split, where that is another. Calibrating the last epoch scores the selection split once
    more where the last is not the best; that cannot be known beforehand, and is not counted.
    Steps of the first `num_frozen_epochs`, which train the head alone, are taken to cost as much as a forward pass.
    """

    num_epochs: int
    steps_per_epoch: int
    images_per_step: int
    num_scored_images: int
    num_final_images: int
    num_frozen_epochs: int = 0

    @property
    def num_steps(self) -> int:
        """Steps of the whole run."""
        return self.num_epochs * self.steps_per_epoch

    def work(self, step: int) -> float:
        """Return what the steps up to one cost together, in steps that train the whole network."""
        num_frozen = min(step, self.num_frozen_epochs * self.steps_per_epoch)
        return FORWARD_COST * num_frozen + (step - num_frozen)


def length_of(task: Task) -> Length:
    """Return how long the run of a task is."""
    recipe, data = task.recipe, task.data
    batch_size = min(chosen(recipe.batch_size, "batch_size"), len(data.split("train").labels))
    num_scored = len(data.split(data.selection).labels)
    return Length(
        num_epochs=task.horizon.num_epochs,
        steps_per_epoch=task.horizon.steps_per_epoch,
        images_per_step=batch_size,
        num_scored_images=num_scored,
        num_final_images=num_scored + (len(data.split("test").labels) if data.scores_test else 0),
        num_frozen_epochs=chosen(recipe.fine_tuning.frozen_epochs, "fine_tuning.frozen_epochs"),
    )


class _Step(NamedTuple):
    """What a step was worth, see `Length.work`, and its seconds: all, and those without a batch."""

    work: float
    seconds: float
    wait_seconds: float


@dataclass(slots=True)
class Pace:
    """The pace of a run that is told of each step and each scoring when it is done, by any clock of seconds.

    A step takes the mean of the more recent half of steps, of which single ones that stand out do not count in full.
    The first steps, and the first epoch, in which images are decoded, are left behind once there are enough others.
    Scoring takes what it took lately; before that, as much as forward passes.
    """

    length: Length
    began: float
    first_step: int = 0
    num_scorings: int = 0
    _steps: deque[_Step] = field(default_factory=lambda: deque(maxlen=_MOST_STEPS), init=False)
    _scorings: deque[float] = field(default_factory=lambda: deque(maxlen=_RECENT_SCORINGS), init=False)
    _step: int = field(init=False)
    _last: float = field(init=False)
    _second_epoch: int | None = field(default=None, init=False)

    def __post_init__(self) -> None:
        self._step, self._last = self.first_step, self.began

    def take_step(self, at: float, wait_seconds: float = 0.0) -> None:
        """Note that a step is done at a time, after so many seconds without a batch."""
        work = self.length.work(self._step + 1) - self.length.work(self._step)
        self._steps.append(_Step(work, at - self._last, wait_seconds))
        self._step += 1
        self._last = at

    def score(self, at: float) -> None:
        """Note that an epoch is scored, and what belongs to it written, at a time."""
        self._scorings.append(at - self._last)
        self._last = at
        self.num_scorings += 1
        if self._second_epoch is None:
            self._second_epoch = self._step

    @property
    def images_per_second(self) -> float:
        """Training images a second lately; 0 before the first step."""
        recent = self._recent()
        seconds = sum(step.seconds for step in recent)
        return len(recent) * self.length.images_per_step / seconds if seconds else 0.0

    @property
    def seconds_left(self) -> float | None:
        """Seconds from the last step or scoring to the end of the run; None before the first step."""
        length, recent = self.length, self._recent()
        if not recent:
            return None
        work_left = length.work(length.num_steps) - length.work(self._step)
        scorings_left = length.num_epochs - self.num_scorings + length.num_final_images / length.num_scored_images
        return work_left * _seconds_per_work(recent) + scorings_left * self._scoring_seconds(recent)

    def _recent(self) -> list[_Step]:
        """Return the more recent half of the steps that say how steps will be, the last one first."""
        num_steps = len(self._steps)
        second_epoch = (self._second_epoch, min(_ENOUGH_STEPS, self.length.steps_per_epoch))
        warmed_up = (self.first_step + _NUM_WARM_UP_STEPS, _NUM_WARM_UP_STEPS)
        for since, enough in (second_epoch, warmed_up):
            if since is not None and self._step - since >= enough:
                num_steps = min(num_steps, self._step - since)
                break
        return list(islice(reversed(self._steps), max(num_steps // 2, min(num_steps, _FEW_STEPS))))

    def _scoring_seconds(self, recent: Sequence[_Step]) -> float:
        if self._scorings:
            return median(self._scorings)
        waited = sum(step.wait_seconds for step in recent)
        computed = sum(max(0.0, step.seconds - step.wait_seconds) / step.work for step in recent)
        num_images = len(recent) * self.length.images_per_step
        return self.length.num_scored_images * (waited + FORWARD_COST * computed) / num_images


def _seconds_per_work(steps: Sequence[_Step]) -> float:
    """Return the mean, in which the longest few steps count as no more than thrice the longest of the others.

    Batches that come in bursts make one step in nine long at the most, so that those are no exception.
    """
    rates = sorted(step.seconds / step.work for step in steps)
    num_single = max(1, len(rates) // _STEPS_PER_SINGLE) if len(rates) > 1 else 0
    most = 3 * rates[-1 - num_single]
    return fmean(min(rate, most) for rate in rates)
