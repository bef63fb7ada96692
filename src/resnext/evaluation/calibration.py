"""Whether probabilities mean what they say: the temperature that makes them, and how far off they are.

Guo et al., "On Calibration of Modern Neural Networks", arXiv 1706.04599.
"""

from dataclasses import dataclass

import torch
from scipy.optimize import brentq
from torch import Tensor

from resnext.evaluation.outputs import Outputs

COLDEST, HOTTEST = 0.05, 20.0
NUM_BINS = 15

_ROWS_AT_ONCE = 4096


def fit_temperature(outputs: Outputs) -> float:
    """Return the temperature T, from 0.05 to 20, for which softmax(logits / T) has the least cross-entropy to targets.

    The target of a label, among n images, is (n + 1) / (n + 2), and the other classes share the rest, as in Platt,
    "Probabilistic Outputs for Support Vector Machines" (1999): about one mistake is imagined beside what was seen. So
    answers that are all right get the probability that the next one is, by Laplace's rule of succession; without it
    none short of one would be high enough.
    The cross-entropy is convex in 1/T (section 4.2 of Guo et al.), so that the zero of its slope is the minimum. Where
    it has none between the limits, as where answers are worse than chance, the nearer limit is returned; logits that
    are the same for all classes are left at 1.
    Raises `ValueError` where there is no image.
    """
    if not outputs.names:
        raise ValueError("no images to fit a temperature on")
    at_hottest, at_coldest = _slope(1 / HOTTEST, outputs), _slope(1 / COLDEST, outputs)
    if at_hottest == at_coldest == 0:
        return 1.0
    if at_coldest <= 0:
        return COLDEST
    if at_hottest >= 0:
        return HOTTEST
    return float(1 / brentq(_slope, 1 / HOTTEST, 1 / COLDEST, args=(outputs,)))


def _slope(inverse: float, outputs: Outputs) -> float:
    """Return the derivative, by 1/T, of the summed cross-entropy: expected logits less those of the targets."""
    num_images, num_classes = outputs.logits.shape
    of_another = 1 / (num_images + 2) / max(1, num_classes - 1)
    total = 0.0
    pieces = (torch.split(tensor, _ROWS_AT_ONCE) for tensor in (outputs.logits, outputs.labels))
    for part, labels in zip(*pieces, strict=True):
        logits = part.double() - part.double().gather(1, labels[:, None])
        total += float((((inverse * logits).softmax(dim=1) - of_another) * logits).sum())
    return total


@dataclass(frozen=True, slots=True)
class Bin:
    """Answers whose probability lies above `low` and up to `high`; means are None where there is no answer."""

    low: float
    high: float
    num_images: int
    mean_confidence: float | None
    accuracy: float | None


def reliability(confidences: Tensor, is_right: Tensor, num_bins: int = NUM_BINS) -> tuple[Bin, ...]:
    """Sort answers into bins of equal width by their probabilities (images,).

    `is_right` (images,) says which of them are right. Raises `ValueError` on fewer than one bin.
    """
    if num_bins < 1:
        raise ValueError(f"num_bins = {num_bins}: at least 1 is needed")
    place = (confidences.double() * num_bins).ceil().long().sub(1).clamp(0, num_bins - 1)
    weights = (torch.ones_like(confidences), confidences, is_right)
    sums = [torch.bincount(place, weight.double(), minlength=num_bins).tolist() for weight in weights]
    return tuple(
        Bin(
            low=index / num_bins,
            high=(index + 1) / num_bins,
            num_images=int(number),
            mean_confidence=confidence / number if number else None,
            accuracy=right / number if number else None,
        )
        for index, (number, confidence, right) in enumerate(zip(*sums, strict=True))
    )


def ece_percent(confidences: Tensor, is_right: Tensor, num_bins: int = NUM_BINS) -> float:
    """Return the expected calibration error (equation 3 of the paper), in percent, of answers as for `reliability`.

    It is the gap between mean confidence and accuracy of a bin, averaged over images. Of few images it is too high:
    the accuracy of a bin of n strays from the true one by chance, some 0.5 / sqrt(n), and no gap is below zero. A
    perfectly calibrated classifier scores several percent on two hundred images.
    Raises `ValueError` where there is no image.
    """
    if len(confidences) == 0:
        raise ValueError("no images to score")
    gaps = (
        bin.num_images * abs(bin.mean_confidence - bin.accuracy)
        for bin in reliability(confidences, is_right, num_bins)
        if bin.mean_confidence is not None and bin.accuracy is not None
    )
    return 100 * sum(gaps) / len(confidences)
