"""Photographs to compare on where the user gives none: crops of the two that scikit-learn brings along."""

from collections.abc import Iterator

import numpy as np
from PIL import Image

NAME = "64 crops of scikit-learn's two photographs"

_NUM_CROPS = 32
_LEAST_SIDE = 64


def sample_images() -> Iterator[Image.Image]:
    """Yield 64 RGB crops, the same at every call, from 64 pixels a side up to the whole height of 427."""
    from sklearn.datasets import load_sample_images  # noqa: PLC0415 - takes a second

    rng = np.random.default_rng(0)
    for pixels in load_sample_images().images:
        whole = Image.fromarray(pixels)
        for _ in range(_NUM_CROPS):
            side = int(rng.integers(_LEAST_SIDE, min(whole.size), endpoint=True))
            left, top = (int(rng.integers(0, length - side, endpoint=True)) for length in whole.size)
            yield whole.crop((left, top, left + side, top + side))
