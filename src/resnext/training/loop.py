"""The training loop: a generator of immutable reports, which does nothing but train, score and tell."""

import math
import time
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass

from resnext.data.loader import Batch
from resnext.evaluation.metrics import Scores
from resnext.spec.recipe import chosen
from resnext.training.learner import Learner, NonFiniteLossError
from resnext.training.schedule import Horizon, learning_rate


@dataclass(frozen=True, slots=True, kw_only=True)
class StepReport:
    """One optimiser step; `loss` is that of its batch before the step, `wait_seconds` the time without a batch.

    Counts and loss are those of all processes together. `left_out` says which images could not be read, and
    `micro_batch_size` how many were computed at a time, where not all were.
    """

    epoch: int
    step: int
    num_images: int
    num_correct: int
    loss: float
    learning_rate: float
    wait_seconds: float
    left_out: tuple[str, ...]
    micro_batch_size: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class EpochReport:
    """One epoch: means over its training images, as its steps met them, then the scores on the selection split."""

    epoch: int
    step: int
    learning_rate: float
    train_loss: float
    train_top1_error_percent: float
    images_per_second: float
    train_seconds: float
    scores: Scores


Report = StepReport | EpochReport


@dataclass(frozen=True, slots=True, kw_only=True)
class Course:
    """What the loop is given: who takes the steps, how many, the batches of an epoch from a step on, a way to score."""

    learner: Learner
    horizon: Horizon
    batches: Callable[[int, int], Iterator[Batch]]
    score: Callable[[], Scores]

    def rate(self, step: int) -> float:
        """Return the learning rate of a step, counted from 1."""
        recipe = self.learner.recipe
        peak = chosen(recipe.optimiser.learning_rate, "optimiser.learning_rate")
        return learning_rate(recipe.schedule, peak, self.horizon, step)


def epochs(course: Course) -> Generator[Report, None, None]:
    """Train from where the state is to the last epoch, and report every step and every epoch.

    Between two reports the state is consistent, so that a caller may save it, or stop.
    Raises `NonFiniteLossError` in place of a step that would spoil the weights, or of a score of spoilt ones.
    """
    state = course.learner.state
    while not state.is_epoch_done or state.epoch < course.horizon.num_epochs:
        if state.is_epoch_done:
            state.begin_epoch()
        yield from _steps(course)
        yield _scored(course)


def _steps(course: Course) -> Iterator[StepReport]:
    """Take what is left of the steps of the epoch under way."""
    learner, state = course.learner, course.learner.state
    learner.enter_epoch()
    first_step = state.step - (state.epoch - 1) * course.horizon.steps_per_epoch
    since = time.perf_counter()
    for batch in course.batches(state.epoch, first_step):
        begun = time.perf_counter()
        rate = course.rate(state.step + 1)
        outcome = learner.step(batch, rate)
        done = time.perf_counter()
        state.tally.num_images += outcome.num_images
        state.tally.num_correct += outcome.num_correct
        state.tally.loss_sum += outcome.loss * outcome.num_images
        state.tally.train_seconds += done - since
        yield StepReport(
            epoch=state.epoch,
            step=state.step,
            num_images=outcome.num_images,
            num_correct=outcome.num_correct,
            loss=outcome.loss,
            learning_rate=rate,
            wait_seconds=begun - since,
            left_out=outcome.left_out,
            micro_batch_size=learner.micro_batch_size,
        )
        since = time.perf_counter()


def _scored(course: Course) -> EpochReport:
    state = course.learner.state
    state.network.eval()
    scores = course.score()
    if not math.isfinite(scores.loss):
        where = f"the held-out loss became {scores.loss} after step {state.step}, in epoch {state.epoch}"
        raise NonFiniteLossError(where, state.step)
    state.is_epoch_done = True
    tally = state.tally
    return EpochReport(
        epoch=state.epoch,
        step=state.step,
        learning_rate=course.rate(state.step),
        train_loss=tally.loss_sum / tally.num_images,
        train_top1_error_percent=100 * (1 - tally.num_correct / tally.num_images),
        images_per_second=tally.num_images / tally.train_seconds,
        train_seconds=tally.train_seconds,
        scores=scores,
    )
