"""What a recipe needs to know of a data set, measured on a sample of its images."""

from statistics import median

import numpy as np

from resnext.data.dataset import Data, DataError
from resnext.imaging.decode import ImageError

_SAMPLE = 32


def shorter_side(data: Data) -> int:
    """Return the median of the shorter sides, in pixels, of some training images spread over the set.

    Raises `DataError` where none of them can be read.
    """
    train = data.split("train")
    indices = np.linspace(0, len(train.labels) - 1, min(_SAMPLE, len(train.labels))).round().astype(int)
    sides = []
    for index in indices.tolist():
        try:
            sides.append(min(train.image(index).size))
        except ImageError:
            continue
    if not sides:
        raise DataError(f"{data.source}: none of {len(indices)} sampled training images can be read")
    return int(median(sides))
