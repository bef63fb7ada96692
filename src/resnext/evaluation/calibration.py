"""How far probabilities mean what they say (arXiv 1706.04599)."""

from dataclasses import dataclass

import torch
from torch import Tensor

NUM_BINS = 15


@dataclass(frozen=True, slots=True)
class Bin:
    """The images whose highest probability lies above `low` and up to `high`: its mean, and the fraction right."""

    low: float
    high: float
    num_images: int
    mean_confidence: float
    accuracy: float


def reliability(probabilities: Tensor, labels: Tensor, num_bins: int = NUM_BINS) -> tuple[Bin, ...]:
    """Sort images by their highest probability into bins of equal width; empty bins are left out.

    `probabilities` are (images, classes), `labels` (images,).
    """
    confidence, said = probabilities.double().max(dim=1)
    is_right = (said == labels).double()
    places = (confidence * num_bins).ceil().long().clamp(1, num_bins) - 1
    bins = []
    for place in sorted(set(places.tolist())):
        inside = places == place
        bins.append(
            Bin(
                low=place / num_bins,
                high=(place + 1) / num_bins,
                num_images=int(inside.sum()),
                mean_confidence=float(confidence[inside].mean()),
                accuracy=float(is_right[inside].mean()),
            )
        )
    return tuple(bins)


def ece_percent(probabilities: Tensor, labels: Tensor, num_bins: int = NUM_BINS) -> float:
    """Return the expected calibration error, equation 3 of arXiv 1706.04599, in percent."""
    bins = reliability(probabilities, labels, num_bins)
    gaps = torch.tensor([part.num_images * abs(part.accuracy - part.mean_confidence) for part in bins])
    return 100 * float(gaps.sum()) / len(labels)
