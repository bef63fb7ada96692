"""The training loop: a generator of immutable reports, which does nothing but train, score and tell."""

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor

from resnext.data.loader import Batch
from resnext.evaluation.metrics import Counts, Scores
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
    """One optimiser step; `loss` is that of its batch before the step, `wait_seconds` the time without a batch."""

    epoch: int
    step: int
    num_images: int
    loss: float
    learning_rate: float
    wait_seconds: float
    left_out: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class EpochReport:
    """One epoch: means over its training batches as they were met, then the scores on the selection split."""

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
    """Train from the state's epoch to the last, and report every step and every epoch.

    Between two reports the state is consistent, so that a caller may save it, or stop.
    Raises `NonFiniteLossError` in place of a step that would spoil the weights, or of a score of spoilt ones.
    """
    while state.epoch < course.horizon.num_epochs:
        state.epoch += 1
        yield from _epoch(state, course)


def _epoch(state: TrainingState, course: Course) -> Iterator[Report]:
    started = waiting_since = time.perf_counter()
    counts = Counts.none(state.network.architecture.num_classes)
    report = None
    state.network.train()
    for batch in course.batches(state.epoch):
        waited = time.perf_counter() - waiting_since
        if len(batch.labels):
            report, batch_counts = _step(state, course, batch, waited)
            counts += batch_counts
            yield report
        waiting_since = time.perf_counter()
    if report is None:
        raise OSError("no training image could be read")
    seconds = time.perf_counter() - started
    state.network.eval()
    scores = course.score()
    if not math.isfinite(scores.loss):
        where = f"the held-out loss became {scores.loss} after step {state.step}, in epoch {state.epoch}"
        raise NonFiniteLossError(where, state.step)
    yield EpochReport(
        epoch=state.epoch,
        step=state.step,
        learning_rate=report.learning_rate,
        train_loss=counts.loss_sum / counts.num_images,
        train_top1_error_percent=100 * (1 - int(counts.confusion.trace()) / counts.num_images),
        images_per_second=counts.num_images / seconds,
        train_seconds=seconds,
        scores=scores,
    )


def _step(state: TrainingState, course: Course, batch: Batch, waited: float) -> tuple[StepReport, Counts]:
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
    report = StepReport(
        epoch=state.epoch,
        step=state.step,
        num_images=len(labels),
        loss=value,
        learning_rate=rate,
        wait_seconds=waited,
        left_out=batch.left_out,
    )
    return report, Counts.of(logits, labels)
