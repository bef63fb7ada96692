"""Contests in speed: contestants run in turn, round by round, and are compared within rounds.

A busy machine slows all contestants of a round alike, so that their ratio holds where no absolute time does.
"""

import time
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from random import Random
from statistics import median
from typing import TypeVar

from scipy import stats

CONFIDENCE = 0.95
LEAST_ROUNDS = 9

_SAMPLE_MS = 5.0

Name = TypeVar("Name", bound=Hashable)


@dataclass(frozen=True, slots=True)
class Ratio:
    """How many times as fast: the median over rounds, and the 95 % interval of that median."""

    median: float
    low: float
    high: float


def race(contestants: Mapping[Name, Callable[[], object]], num_rounds: int) -> dict[Name, list[float]]:
    """Run every contestant in each round, in an order that changes, and return its milliseconds in each.

    The quickest call of a round counts, as others may have been interrupted.
    Raises `ValueError` where `num_rounds` is below 9, from which no interval can be told.
    """
    return {name: [min(calls) for calls in rounds] for name, rounds in race_calls(contestants, num_rounds).items()}


def race_calls(contestants: Mapping[Name, Callable[[], object]], num_rounds: int) -> dict[Name, list[list[float]]]:
    """Run contestants as `race` does, and return the milliseconds of every call, round by round.

    In a round a contestant is called once uncounted, because the threads of the one before may still wait, busily, for
    more to do, and then over and over for 5 ms, at least once.
    Raises `ValueError` where `num_rounds` is below 9.
    """
    if num_rounds < LEAST_ROUNDS:
        raise ValueError(f"num_rounds = {num_rounds}: at least {LEAST_ROUNDS} are needed to tell a gain from noise")
    times: dict[Name, list[list[float]]] = {name: [] for name in contestants}
    order, random = list(contestants), Random(0)
    for _ in range(num_rounds):
        random.shuffle(order)
        for name in order:
            contestants[name]()
            times[name].append(_calls_ms(contestants[name]))
    return times


def times_as_fast(reference_ms: Sequence[float], other_ms: Sequence[float]) -> Ratio:
    """Compare the times of two contestants of one race: how many times as fast the second is.

    The interval comes from order statistics and assumes nothing about how times are distributed.
    """
    ratios = [reference / other for reference, other in zip(reference_ms, other_ms, strict=True)]
    interval = stats.quantile_test(ratios, q=1.0, p=0.5).confidence_interval(CONFIDENCE)
    return Ratio(median(ratios), float(interval.low), float(interval.high))


def quickest_ms(run: Callable[[], object]) -> float:
    """Return the milliseconds of the quickest call within 5 ms, or of the only one."""
    return min(_calls_ms(run))


def _calls_ms(run: Callable[[], object]) -> list[float]:
    calls: list[float] = []
    now = first = time.perf_counter()
    while 1000 * (now - first) < _SAMPLE_MS:
        started = now
        run()
        now = time.perf_counter()
        calls.append(1000 * (now - started))
    return calls
