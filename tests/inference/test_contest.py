from collections.abc import Callable
from itertools import cycle
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from resnext.inference import contest
from resnext.inference.contest import LEAST_ROUNDS, race, times_as_fast

TIMES = st.lists(st.tuples(st.floats(0.01, 1e3), st.floats(0.01, 1e3)), min_size=LEAST_ROUNDS, max_size=30)


class Clock:
    """A clock that only moves when something says how long it took."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def perf_counter(self) -> float:
        return self.seconds

    def taking(self, milliseconds: Callable[[], float]) -> Callable[[], None]:
        def run() -> None:
            self.seconds += milliseconds() / 1000

        return run


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(contest, "time", made)
    return made


def test_every_contestant_has_a_time_for_every_round(clock: Clock) -> None:
    times = race({"slow": clock.taking(lambda: 8.0), "quick": clock.taking(lambda: 2.0)}, 11)
    assert times == {"slow": pytest.approx([8.0] * 11), "quick": pytest.approx([2.0] * 11)}


def test_the_quickest_call_of_a_round_counts(clock: Clock) -> None:
    calls = cycle([3.0, 1.0])
    interrupted = clock.taking(lambda: next(calls))
    assert race({"one": interrupted}, 9)["one"] == pytest.approx([1.0] * 9)


def test_contestants_take_turns_in_an_order_that_changes(clock: Clock) -> None:
    called: list[str] = []

    def named(name: str) -> Callable[[], None]:
        return clock.taking(lambda: called.append(name) or 10.0)  # type: ignore[func-returns-value]

    race({name: named(name) for name in "abc"}, 12)
    assert called[::2] == called[1::2], "the first call of each turn is not counted"
    rounds = ["".join(called[start : start + 6 : 2]) for start in range(0, len(called), 6)]
    assert len(rounds) == 12
    assert {"".join(sorted(one)) for one in rounds} == {"abc"}
    assert len(set(rounds)) > 3


@pytest.mark.parametrize("num_rounds", [0, LEAST_ROUNDS - 1])
def test_too_few_rounds_are_refused(num_rounds: int) -> None:
    with pytest.raises(ValueError, match=f"num_rounds = {num_rounds}: at least 9"):
        race({"one": lambda: None}, num_rounds)


@given(times=TIMES)
def test_the_median_lies_in_its_interval(times: list[Any]) -> None:
    ratio = times_as_fast(*zip(*times, strict=True))
    assert ratio.low <= ratio.median <= ratio.high


@given(times=TIMES, slowdowns=st.lists(st.sampled_from([1.0, 2.0, 8.0]), min_size=30, max_size=30))
def test_what_slows_a_whole_round_changes_nothing(times: list[Any], slowdowns: list[float]) -> None:
    slowed = [(one * by, other * by) for (one, other), by in zip(times, slowdowns, strict=False)]
    assert times_as_fast(*zip(*slowed, strict=True)) == times_as_fast(*zip(*times, strict=True))


def test_a_few_wild_rounds_do_not_move_the_ratio() -> None:
    steady = times_as_fast([2.0] * 15, [1.0] * 15)
    assert (steady.median, steady.low, steady.high) == (2.0, 2.0, 2.0)
    assert times_as_fast([2.0] * 12 + [200.0, 0.02, 40.0], [1.0] * 15) == steady


def test_the_interval_holds_the_true_ratio_about_as_often_as_it_says() -> None:
    random = Random(0)
    ratios = [times_as_fast([1.5 * random.lognormvariate(0, 0.2) for _ in range(15)], [1.0] * 15) for _ in range(300)]
    assert 0.93 <= sum(ratio.low <= 1.5 <= ratio.high for ratio in ratios) / 300 <= 1
