"""A mean over a few repetitions, and how far it can be trusted: Student's t interval."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean, stdev

from scipy import stats

CONFIDENCE = 0.95


@dataclass(frozen=True, slots=True)
class Estimate:
    """A mean, and half the width of its 95 % interval; None where repetitions are fewer than two, or all agree."""

    mean: float
    half_width: float | None
    num_values: int


def estimate(values: Sequence[float]) -> Estimate:
    """Return the mean of one value or more, with its interval."""
    spread = stdev(values) if len(values) > 1 else 0.0
    half_width = half_width_of(spread, len(values)) if spread > 0 else None
    return Estimate(fmean(values), half_width, len(values))


def half_width_of(spread: float, num_values: int) -> float:
    """Return half the width of the interval of a mean, from the standard deviation of two values or more."""
    return float(stats.t.ppf((1 + CONFIDENCE) / 2, num_values - 1)) * spread / math.sqrt(num_values)
