"""Contests in speed: contestants run in turn, round by round, and are compared within rounds.

A busy machine slows all contestants of a round alike, so that their ratio holds where no absolute time does.
"""

import math
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

    In a round a contestant is called over and over for 5 ms, at least once, and its quickest call counts, as others may
    have been interrupted. Before the first round each is warmed up.
    Raises `ValueError` where `num_rounds` is below 9, from which no interval can be told.
    """
    if num_rounds < LEAST_ROUNDS:
        raise ValueError(f"num_rounds = {num_rounds}: at least {LEAST_ROUNDS} are needed to tell a gain from noise")
    for run in contestants.values():
        _quickest_ms(run)
    times: dict[Name, list[float]] = {name: [] for name in contestants}
    order, random = list(contestants), Random(0)
    for _ in range(num_rounds):
        random.shuffle(order)
        for name in order:
            times[name].append(_quickest_ms(contestants[name]))
    return times


def times_as_fast(reference_ms: Sequence[float], other_ms: Sequence[float]) -> Ratio:
    """Compare the times of two contestants of one race: how many times as fast the second is.

    The interval comes from order statistics and assumes nothing about how times are distributed.
    """
    ratios = [reference / other for reference, other in zip(reference_ms, other_ms, strict=True)]
    interval = stats.quantile_test(ratios, q=1.0, p=0.5).confidence_interval(CONFIDENCE)
    return Ratio(median(ratios), float(interval.low), float(interval.high))


def _quickest_ms(run: Callable[[], object]) -> float:
    quickest = math.inf
    now = first = time.perf_counter()
    while 1000 * (now - first) < _SAMPLE_MS:
        started = now
        run()
        now = time.perf_counter()
        quickest = min(quickest, now - started)
    return 1000 * quickest
