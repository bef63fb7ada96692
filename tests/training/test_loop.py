import math
from collections.abc import Iterator
from copy import deepcopy
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from resnext.data.loader import Batch
from resnext.evaluation.metrics import Counts, Scores
from resnext.imaging.transform import normalise
from resnext.model.forms import build
from resnext.spec.preprocessing import Preprocessing
from resnext.spec.recipe import Recipe
from resnext.training.learner import Learner, NonFiniteLossError
from resnext.training.loop import Course, EpochReport, Report, StepReport, epochs
from resnext.training.optimiser import make_optimiser
from resnext.training.schedule import Horizon, learning_rate
from resnext.training.state import TrainingState
from resnext.training.world import World

NUM_STEPS, BATCH = 3, 6
LABELS = tuple(range(3)) * 2


def batch_of(seed: int) -> Batch:
    pixels = torch.randint(256, (BATCH, 3, 16, 16), generator=torch.Generator().manual_seed(seed), dtype=torch.uint8)
    names = tuple(f"image{seed}-{i}" for i in range(BATCH))
    return Batch(pixels=pixels, labels=torch.tensor(LABELS), names=names)


def batches(epoch: int, first_step: int) -> Iterator[Batch]:
    return (batch_of(10 * epoch + number) for number in range(first_step, NUM_STEPS))


def prepare(pixels: Tensor) -> Tensor:
    return normalise(pixels, Preprocessing(image_size=16, resize_size=16), torch.float64)


def no_scores() -> Scores:
    return Scores.of(Counts.of(torch.eye(3), torch.arange(3)), ("red", "green", "blue"))


@pytest.fixture
def state(recipe: Recipe) -> TrainingState:
    network = build(recipe.network(), generator=torch.Generator().manual_seed(0)).double()
    return TrainingState(network, make_optimiser(network, recipe.optimiser))


def course(state: TrainingState, recipe: Recipe, **changes: Any) -> Course:
    learner = Learner(
        state=state,
        recipe=recipe,
        model=state.network,
        world=World(),
        device=torch.device("cpu"),
        dtype=torch.float64,
    )
    fields = {"batches": batches, "score": no_scores, **changes}
    return Course(learner=learner, horizon=Horizon(2, NUM_STEPS), **fields)


def steps(reports: list[Report]) -> list[StepReport]:
    return [report for report in reports if isinstance(report, StepReport)]


def weights(state: TrainingState) -> list[Tensor]:
    return [parameter.detach().clone() for parameter in state.network.parameters()]


def numbers(report: Report) -> tuple[float, ...]:
    """Return what does not depend on a clock."""
    if isinstance(report, StepReport):
        return (report.epoch, report.step, report.loss, report.num_correct, report.learning_rate)
    return (report.epoch, report.step, report.train_loss, report.train_top1_error_percent, report.learning_rate)


def loss_by_hand(logits: Tensor, labels: Tensor, smoothing: float) -> float:
    """Mean cross-entropy, in nats, against (1 - s) on the label and s / K on every class."""
    total = 0.0
    for row, label in zip(logits.tolist(), labels.tolist(), strict=True):
        log_sum = math.log(sum(math.exp(value) for value in row))
        surprise = [log_sum - value for value in row]
        total += (1 - smoothing) * surprise[label] + smoothing * sum(surprise) / len(row)
    return total / len(labels)


def test_reports_count_epochs_and_steps_from_one(state: TrainingState, recipe: Recipe) -> None:
    reports = list(epochs(course(state, recipe)))
    assert [type(report) for report in reports] == 2 * [StepReport, StepReport, StepReport, EpochReport]
    assert [report.step for report in steps(reports)] == [1, 2, 3, 4, 5, 6]
    assert [report.epoch for report in steps(reports)] == [1, 1, 1, 2, 2, 2]
    ends = [report for report in reports if isinstance(report, EpochReport)]
    assert [(report.epoch, report.step) for report in ends] == [(1, 3), (2, 6)]


def test_the_state_is_that_of_the_last_report(state: TrainingState, recipe: Recipe) -> None:
    assert (state.epoch, state.step) == (0, 0)
    for report in epochs(course(state, recipe)):
        assert (state.epoch, state.step) == (report.epoch, report.step)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_the_loss_of_the_first_step_is_the_cross_entropy_before_it(
    state: TrainingState, recipe: Recipe, smoothing: float
) -> None:
    batch = batch_of(10)
    before = build(recipe.network(), generator=torch.Generator().manual_seed(0)).double().train()
    with torch.no_grad():
        expected = loss_by_hand(before(prepare(batch.pixels)), batch.labels, smoothing)
    first = next(epochs(course(state, recipe.replace(label_smoothing=smoothing))))
    assert isinstance(first, StepReport)
    assert first.loss == pytest.approx(expected, rel=1e-12)


def test_every_step_is_taken_at_the_rate_of_the_schedule(state: TrainingState, recipe: Recipe) -> None:
    for report in epochs(course(state, recipe)):
        rate = learning_rate(recipe.schedule, 0.1, Horizon(2, NUM_STEPS), report.step)
        assert report.learning_rate == rate
        assert {group["lr"] for group in state.optimiser.param_groups} == {rate}


def test_a_step_goes_against_the_gradient_of_its_own_batch_alone(state: TrainingState, recipe: Recipe) -> None:
    plain = recipe.replace(label_smoothing=0.0, optimiser=recipe.optimiser.replace(momentum=0.0, weight_decay=0.0))
    state.optimiser = make_optimiser(state.network, plain.optimiser)
    reports = epochs(course(state, plain))
    next(reports)
    before, second = deepcopy(state.network), batch_of(11)
    F.cross_entropy(before(prepare(second.pixels)), second.labels).backward()
    rate = next(reports).learning_rate
    for weight, old in zip(weights(state), before.parameters(), strict=True):
        assert old.grad is not None
        assert torch.allclose(weight, old - rate * old.grad, rtol=1e-12, atol=1e-14)


def test_an_epoch_reports_means_over_its_images(state: TrainingState, recipe: Recipe) -> None:
    reports = list(epochs(course(state, recipe.replace(label_smoothing=0.0))))
    end = reports[NUM_STEPS]
    assert isinstance(end, EpochReport)
    losses = [report.loss for report in steps(reports[:NUM_STEPS])]
    assert end.train_loss == pytest.approx(sum(losses) / NUM_STEPS, rel=1e-12)
    wrong = end.train_top1_error_percent / 100 * NUM_STEPS * BATCH
    assert wrong == pytest.approx(round(wrong), abs=1e-9)
    assert end.scores == no_scores()
    assert end.images_per_second == pytest.approx(NUM_STEPS * BATCH / end.train_seconds)


def test_the_network_trains_in_steps_and_is_scored_in_evaluation_mode(state: TrainingState, recipe: Recipe) -> None:
    modes: list[bool] = []

    def score() -> Scores:
        modes.append(state.network.training)
        return no_scores()

    for report in epochs(course(state, recipe, score=score)):
        assert state.network.training == isinstance(report, StepReport)
    assert modes == [False, False]


def test_training_goes_on_within_the_epoch_of_the_state(state: TrainingState, recipe: Recipe) -> None:
    whole = list(epochs(course(state, recipe)))
    again = TrainingState(build(recipe.network(), generator=torch.Generator().manual_seed(0)).double(), state.optimiser)
    again.optimiser = make_optimiser(again.network, recipe.optimiser)
    reports = []
    for report in epochs(course(again, recipe)):
        reports.append(report)
        if report.step == 2:
            break
    reports.extend(epochs(course(again, recipe)))
    assert [numbers(report) for report in reports] == [numbers(report) for report in whole]
    assert all(torch.equal(one, other) for one, other in zip(weights(again), weights(state), strict=True))


def test_training_goes_on_from_the_epoch_of_the_state(state: TrainingState, recipe: Recipe) -> None:
    state.epoch, state.step = 1, 3
    reports = list(epochs(course(state, recipe)))
    assert [report.epoch for report in reports] == [2, 2, 2, 2]
    assert [report.step for report in steps(reports)] == [4, 5, 6]


def test_a_run_that_is_over_reports_nothing(state: TrainingState, recipe: Recipe) -> None:
    state.epoch = 2
    assert list(epochs(course(state, recipe))) == []


@pytest.mark.parametrize("value", [math.inf, math.nan])
def test_a_loss_that_is_not_finite_ends_training_before_the_step(
    state: TrainingState, recipe: Recipe, value: float
) -> None:
    reports = epochs(course(state, recipe))
    next(reports)
    with torch.no_grad():
        state.network.head.weight[0, 0] = value
    before = weights(state)
    with pytest.raises(NonFiniteLossError, match=r"step 2\b.*epoch 1\b") as caught:
        next(reports)
    assert caught.value.names == batch_of(11).names
    assert state.step == 1
    for weight, old in zip(weights(state), before, strict=True):
        assert torch.equal(weight.nan_to_num(), old.nan_to_num())


def test_an_exploding_learning_rate_is_met_at_the_second_step(state: TrainingState, recipe: Recipe) -> None:
    wild = recipe.replace(optimiser=recipe.optimiser.replace(learning_rate=1e300))
    with pytest.raises(NonFiniteLossError, match="step 2"):
        list(epochs(course(state, wild)))
