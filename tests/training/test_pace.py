from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from resnext.artefact.weights import Weights
from resnext.data.dataset import Data
from resnext.evaluation.outputs import Outputs
from resnext.model.network import Network
from resnext.spec.recipe import Recipe
from resnext.training.loop import EpochReport
from resnext.training.pace import FORWARD_COST, Length, Pace, length_of
from resnext.training.run import Run
from resnext.training.scorer import Scorer
from resnext.training.task import Task

A_FIFTH, A_TENTH = 0.2, 0.1


@dataclass(frozen=True, kw_only=True)
class Simulated:
    """A run that never was: the seconds of its steps and scorings, of which the last are of the best epoch."""

    num_epochs: int
    steps_per_epoch: int
    step: float = 1.0
    wait: float = 0.0
    slow_first_epoch: float = 1.0
    warm_up: float = 0.0
    noise: float = 0.0
    hiccups: dict[int, float] = field(default_factory=dict)
    scoring: float = 0.0
    first_scoring: float | None = None
    has_test: bool = False
    num_frozen_epochs: int = 0
    first_step: int = 0

    @property
    def num_final_scorings(self) -> int:
        return 2 if self.has_test else 1

    @property
    def length(self) -> Length:
        return Length(
            num_epochs=self.num_epochs,
            steps_per_epoch=self.steps_per_epoch,
            images_per_step=10,
            num_scored_images=10,
            num_final_images=10 * self.num_final_scorings,
            num_frozen_epochs=self.num_frozen_epochs,
        )

    def events(self) -> Iterator[tuple[str, float, float]]:
        """Yield what is done, its seconds and those without a batch."""
        rng = np.random.default_rng(0)
        first_epoch = self.first_step // self.steps_per_epoch
        for step in range(self.first_step, self.num_epochs * self.steps_per_epoch):
            epoch = step // self.steps_per_epoch
            cost = FORWARD_COST if epoch < self.num_frozen_epochs else 1.0
            slow = self.slow_first_epoch if epoch == first_epoch else 1.0
            first = self.warm_up if step == self.first_step else 0.0
            noise = np.exp(self.noise * rng.standard_normal() - self.noise**2 / 2)
            seconds = self.step * cost * slow * noise + first + self.hiccups.get(step, 0.0)
            yield "step", seconds, min(self.wait, seconds)
            if (step + 1) % self.steps_per_epoch == 0:
                is_first = self.first_scoring is not None and epoch == first_epoch
                yield "score", self.first_scoring if is_first else self.scoring, 0.0  # type: ignore[misc]
        yield "end", self.num_final_scorings * self.scoring, 0.0

    def errors(self) -> list[float]:
        """Return how wrong the time left is, relative to what it is, at some events from a tenth of the time on.

        In the last twentieth, where little is left, an error counts as if that twentieth were.
        """
        events = list(self.events())
        stride = 1 + len(events) // 50
        total = sum(seconds for _, seconds, _ in events)
        pace = Pace(self.length, 100.0, self.first_step, self.first_step // self.steps_per_epoch)
        found: list[float] = []
        done = 0.0
        for number, (kind, seconds, wait) in enumerate(events[:-1]):
            done += seconds
            if kind == "step":
                pace.take_step(100.0 + done, wait)
            else:
                pace.score(100.0 + done)
            if done >= A_TENTH * total and (number % stride == 0 or not found):
                assert pace.seconds_left is not None
                found.append(abs(pace.seconds_left - (total - done)) / max(total - done, total / 20))
        return found


@given(
    num_epochs=st.integers(1, 60),
    steps_per_epoch=st.integers(4, 60),
    step=st.floats(0.001, 100),
    has_test=st.booleans(),
)
def test_steady_runs_are_foretold(num_epochs: int, steps_per_epoch: int, step: float, has_test: bool) -> None:
    scoring = step * FORWARD_COST  # as many images are scored as a step takes
    run = Simulated(
        num_epochs=num_epochs, steps_per_epoch=steps_per_epoch, step=step, scoring=scoring, has_test=has_test
    )
    assert max(run.errors()) < 0.001


@given(num_epochs=st.integers(30, 60), steps_per_epoch=st.integers(10, 30), slow=st.floats(1, 3))
def test_a_slow_first_epoch_is_left_behind_with_the_second(num_epochs: int, steps_per_epoch: int, slow: float) -> None:
    run = Simulated(num_epochs=num_epochs, steps_per_epoch=steps_per_epoch, slow_first_epoch=slow, scoring=1.0)
    second_epoch_in = (slow + 1) * steps_per_epoch + 1
    if A_TENTH * (slow + num_epochs) * steps_per_epoch > second_epoch_in:
        assert max(run.errors()) < A_FIFTH


@given(num_epochs=st.integers(1, 20), steps_per_epoch=st.integers(100, 200), warm_up=st.floats(0, 5))
def test_a_slow_first_step_is_left_behind(num_epochs: int, steps_per_epoch: int, warm_up: float) -> None:
    run = Simulated(num_epochs=num_epochs, steps_per_epoch=steps_per_epoch, warm_up=warm_up, scoring=FORWARD_COST)
    assert max(run.errors()) < A_FIFTH


@given(num_epochs=st.integers(2, 20), steps_per_epoch=st.integers(100, 200), noise=st.floats(0, 0.25))
def test_steps_may_vary(num_epochs: int, steps_per_epoch: int, noise: float) -> None:
    run = Simulated(num_epochs=num_epochs, steps_per_epoch=steps_per_epoch, noise=noise, scoring=FORWARD_COST)
    assert max(run.errors()) < A_FIFTH


@given(at=st.integers(0, 25), seconds=st.floats(0, 30))
def test_a_hiccup_does_not_count(at: int, seconds: float) -> None:
    run = Simulated(num_epochs=3, steps_per_epoch=200, hiccups={at: seconds}, scoring=FORWARD_COST)
    assert max(run.errors()) < A_FIFTH


def test_steps_that_come_in_bursts_count_by_their_mean() -> None:
    bursts = dict.fromkeys(range(0, 800, 9), 8.0)
    run = Simulated(num_epochs=2, steps_per_epoch=400, step=0.1, hiccups=bursts, scoring=0.5)
    assert max(run.errors()) < A_FIFTH


@given(num_epochs=st.integers(12, 50), steps_per_epoch=st.integers(10, 40), scoring=st.floats(0, 100))
def test_long_scorings_are_foretold_once_there_was_one(num_epochs: int, steps_per_epoch: int, scoring: float) -> None:
    run = Simulated(num_epochs=num_epochs, steps_per_epoch=steps_per_epoch, scoring=scoring, has_test=True)
    assert max(run.errors()) < A_FIFTH


def test_a_first_scoring_that_took_longer_is_left_behind() -> None:
    run = Simulated(num_epochs=60, steps_per_epoch=10, scoring=2.0, first_scoring=20.0)
    assert max(run.errors()) < A_FIFTH


@given(first_step=st.integers(0, 290), slow=st.floats(1, 1.19))
def test_a_resumed_run_counts_what_is_left_of_it(first_step: int, slow: float) -> None:
    run = Simulated(
        num_epochs=30, steps_per_epoch=10, first_step=first_step, scoring=FORWARD_COST, slow_first_epoch=slow
    )
    assert max(run.errors()) < A_FIFTH


def test_scoring_waits_for_images_as_training_does() -> None:
    run = Simulated(num_epochs=1, steps_per_epoch=20, step=1.0, wait=0.9, scoring=0.9 + 0.1 * FORWARD_COST)
    assert max(run.errors()) < 0.001


@given(num_frozen_epochs=st.integers(0, 12), num_epochs=st.integers(10, 20))
def test_frozen_epochs_cost_less(num_frozen_epochs: int, num_epochs: int) -> None:
    run = Simulated(num_epochs=num_epochs, steps_per_epoch=20, num_frozen_epochs=num_frozen_epochs)
    assert max(run.errors()) < A_FIFTH


def test_nothing_is_foretold_before_the_first_step() -> None:
    pace = Pace(Simulated(num_epochs=2, steps_per_epoch=5).length, 0.0)
    assert (pace.seconds_left, pace.images_per_second) == (None, 0.0)


def test_the_speed_is_that_of_recent_steps() -> None:
    pace = Pace(Simulated(num_epochs=2, steps_per_epoch=100).length, 0.0)
    at = 0.0
    for step in range(100):
        at += 2.0 if step < 50 else 0.5
        pace.take_step(at)
    assert pace.images_per_second == pytest.approx(10 / 0.5)


def test_the_length_of_a_task_is_that_of_its_run(data: Data, recipe: Recipe, weights: Weights) -> None:
    frozen = recipe.replace(fine_tuning={"frozen_epochs": 1})
    length = length_of(Task(data=data, recipe=frozen, weights=weights))
    assert (length.num_epochs, length.steps_per_epoch, length.num_steps, length.images_per_step) == (2, 3, 6, 8)
    assert (length.num_scored_images, length.num_frozen_epochs) == (9, 1)
    assert length.work(6) == pytest.approx(3 * FORWARD_COST + 3)


def test_what_is_scored_once_all_is_learnt_is_counted(data: Data, recipe: Recipe) -> None:
    without_test = replace(data, splits={name: data.split(name) for name in ("train", "val")})
    on_test = replace(data, selection="test")
    for split_so, num_images in ((data, 9 + 9), (without_test, 9), (on_test, 9)):
        assert length_of(Task(data=split_so, recipe=recipe)).num_final_images == num_images


@pytest.mark.parametrize("selection", ["val", "test"])
def test_a_run_scores_at_its_end_what_its_length_says(
    data: Data, start: Callable[..., Run], selection: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = start(data=replace(data, selection=selection))
    *_, end = run
    assert isinstance(end, EpochReport)
    scored: list[int] = []
    collect = Scorer.outputs

    def counted(scorer: Scorer, network: Network, split: str) -> Outputs:
        found = collect(scorer, network, split)
        scored.append(len(found.names))
        return found

    monkeypatch.setattr(Scorer, "outputs", counted)
    is_last_best = run.finish().best_epoch == end.epoch
    calibrates_last = selection == "val" and not is_last_best
    assert sum(scored) == length_of(run.task).num_final_images + (9 if calibrates_last else 0)
