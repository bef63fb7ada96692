"""When to say "unknown": the probability above which answers are right as often as asked, and what that costs.

The rule is the simplest: the lowest threshold whose answers on validation are right often enough. That figure is
fitted, so the true one lies below it about as often as above; the exact interval of Clopper and Pearson
(Biometrika 26, 1934), which is wider than it needs to be, covers it in 95 of 100 cases nonetheless.
"""

import math
from dataclasses import dataclass

import torch
from scipy.stats import beta
from torch import Tensor

_TAIL = 0.025
_MOST_DIGITS = 15


@dataclass(frozen=True, slots=True, kw_only=True)
class Abstention:
    """What is answered, and how often rightly, where nothing is said below a threshold of the probability."""

    threshold: float
    num_images: int
    num_answered: int
    num_right: int

    @property
    def coverage_percent(self) -> float:
        """The share of images that get an answer."""
        return 100 * self.num_answered / self.num_images

    @property
    def precision_percent(self) -> float | None:
        """The share of answers that are right; None where nothing is answered."""
        return 100 * self.num_right / self.num_answered if self.num_answered else None

    @property
    def interval_percent(self) -> tuple[float, float]:
        """The 95 % interval of the precision, after Clopper and Pearson; of no answers it is everything."""
        right, wrong = self.num_right, self.num_answered - self.num_right
        low = float(beta.ppf(_TAIL, right, wrong + 1)) if right else 0.0
        high = float(beta.ppf(1 - _TAIL, right + 1, wrong)) if wrong else 1.0
        return 100 * low, 100 * high

    def reaches(self, precision: float) -> bool:
        """Tell whether the answers have at least a precision, given between 0 and 1."""
        return self.num_answered > 0 and bool(self.num_right / self.num_answered >= precision)


def answers_at(threshold: float, probabilities: Tensor, is_right: Tensor) -> Abstention:
    """Count what is answered at a threshold: the images whose probability (images,) is at least that.

    `is_right` (images,) says of each whether its answer is. Raises `ValueError` where there is no image.
    """
    if len(probabilities) == 0:
        raise ValueError("no images to answer")
    answered = probabilities >= threshold
    return Abstention(
        threshold=threshold,
        num_images=len(probabilities),
        num_answered=int(answered.sum()),
        num_right=int((answered & is_right).sum()),
    )


def threshold_for(precision: float, probabilities: Tensor, is_right: Tensor) -> Abstention:
    """Find the lowest threshold at which the answers have a precision, between 0 and 1; 0 where all answers have it.

    `probabilities` (images,) are those of the answers, `is_right` (images,) says which are right. Images of one
    probability are answered together or not at all. Where the precision is not reached, the threshold is that of the
    highest precision there is, and `Abstention.reaches` says so. Of the thresholds between two images, which do the
    same, that with the fewest digits is taken.
    Raises `ValueError` where the precision is not between 0 and 1, or where there is no image.
    """
    if not 0 < precision < 1:
        raise ValueError(f"precision = {precision:g}: give a number between 0 and 1, such as 0.99")
    if len(probabilities) == 0:
        raise ValueError("no images to find a threshold on")
    levels, place = torch.unique(probabilities.double(), return_inverse=True)
    answered = torch.bincount(place, minlength=len(levels)).flip(0).cumsum(0).flip(0)
    right = torch.bincount(place, is_right.double(), minlength=len(levels)).flip(0).cumsum(0).flip(0)
    precisions = right / answered
    good = (precisions >= min(precision, float(precisions.max()))).nonzero()
    lowest = int(good[0])
    below = float(levels[lowest - 1]) if lowest else -1.0
    return answers_at(_shortest(below, float(levels[lowest])), probabilities, is_right)


def _shortest(below: float, up_to: float) -> float:
    """Return the number below 1 with the fewest decimal digits in (below, up_to], both of them probabilities."""
    for digits in range(_MOST_DIGITS + 1):
        units = min(math.floor(up_to * 10.0**digits), 10**digits - 1)
        found: float = round(units / 10.0**digits, digits)
        if below < found <= up_to:
            return found
    return up_to
