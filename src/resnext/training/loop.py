"""The training loop: a generator of immutable reports, which does nothing but train, score and tell."""

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor

from resnext.data.loader import Batch
from resnext.evaluation.metrics import Scores
from resnext.spec.recipe import Recipe, chosen
from resnext.training.schedule import Horizon, learning_rate
from resnext.training.state import TrainingState


class NonFiniteLossError(ArithmeticError):
    """The loss became infinite or not a number: in training, before the step was taken, or when the epoch was scored.

    `step` is the one that was not taken, or the one after which the epoch was scored; `names` are the images of the
    training batch, if it was one.
    """

    def __init__(self, message: str, step: int, names: tuple[str, ...] = ()) -> None:
        super().__init__(message)
        self.step = step
        self.names = names


@dataclass(frozen=True, slots=True, kw_only=True)
class StepReport:
    """One optimiser step; `loss` is that of its batch before the step, `wait_seconds` the time without a batch.

    `left_out` names the images that could not be read since the last report.
    """

    epoch: int
    step: int
    num_images: int
    num_correct: int
    loss: float
    learning_rate: float
    wait_seconds: float
    left_out: tuple[str, ...]


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
    """What the loop is given: a resolved recipe, the batches of an epoch, pixels to input, and a way to score."""

    recipe: Recipe
    horizon: Horizon
    batches: Callable[[int], Iterator[Batch]]
    prepare: Callable[[Tensor], Tensor]
    score: Callable[[], Scores]


def epochs(state: TrainingState, course: Course) -> Iterator[Report]:
    """Train the epochs after that of the state, to the last, and report every step and every epoch.

    Between two reports the state is consistent, so that a caller may save it, or stop.
    Raises `NonFiniteLossError` in place of a step that would spoil the weights, or of a score of spoilt ones.
    """
    while state.epoch < course.horizon.num_epochs:
        state.epoch += 1
        yield from _epoch(state, course)


def _epoch(state: TrainingState, course: Course) -> Iterator[Report]:
    started = waiting_since = time.perf_counter()
    steps: list[StepReport] = []
    left_out: tuple[str, ...] = ()
    state.network.train()
    for batch in course.batches(state.epoch):
        left_out += batch.left_out
        if len(batch.labels) == 0:
            continue
        waited = time.perf_counter() - waiting_since
        steps.append(_step(state, course, batch, waited, left_out))
        left_out = ()
        yield steps[-1]
        waiting_since = time.perf_counter()
    if not steps:
        raise OSError("no training image could be read")
    seconds = time.perf_counter() - started
    num_images = sum(step.num_images for step in steps)
    state.network.eval()
    scores = course.score()
    if not math.isfinite(scores.loss):
        where = f"the held-out loss became {scores.loss} after step {state.step}, in epoch {state.epoch}"
        raise NonFiniteLossError(where, state.step)
    yield EpochReport(
        epoch=state.epoch,
        step=state.step,
        learning_rate=steps[-1].learning_rate,
        train_loss=sum(step.loss * step.num_images for step in steps) / num_images,
        train_top1_error_percent=100 * (1 - sum(step.num_correct for step in steps) / num_images),
        images_per_second=num_images / seconds,
        train_seconds=seconds,
        scores=scores,
    )


def _step(state: TrainingState, course: Course, batch: Batch, waited: float, left_out: tuple[str, ...]) -> StepReport:
    recipe = course.recipe
    peak = chosen(recipe.optimiser.learning_rate, "optimiser.learning_rate")
    rate = learning_rate(recipe.schedule, peak, course.horizon, state.step + 1)
    for group in state.optimiser.param_groups:
        group["lr"] = rate
    images = course.prepare(batch.pixels)
    labels = batch.labels.to(images.device)
    logits = state.network(images)
    loss = F.cross_entropy(logits, labels, label_smoothing=recipe.label_smoothing)
    value = loss.item()
    if not math.isfinite(value):
        where = f"the loss became {value} at step {state.step + 1}, in epoch {state.epoch}"
        raise NonFiniteLossError(where, state.step + 1, batch.names)
    state.optimiser.zero_grad(set_to_none=True)
    loss.backward()  # type: ignore[no-untyped-call]
    state.optimiser.step()
    state.step += 1
    return StepReport(
        epoch=state.epoch,
        step=state.step,
        num_images=len(labels),
        num_correct=int((logits.argmax(dim=1) == labels).sum()),
        loss=value,
        learning_rate=rate,
        wait_seconds=waited,
        left_out=left_out,
    )
