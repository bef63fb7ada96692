"""What a recipe needs to know of a data set, measured on a sample of its images."""

from statistics import median

from resnext.data.dataset import Data, DataError
from resnext.data.sample import sample
from resnext.imaging.decode import ImageError

_SAMPLE = 32


def shorter_side(data: Data) -> int:
    """Return the median of the shorter sides, in pixels, of some training images spread over the set.

    Raises `DataError` where none of them can be read.
    """
    sides = []
    pictures = sample(data.split("train"), _SAMPLE)
    for picture in pictures:
        try:
            sides.append(min(picture.image().size))
        except ImageError:
            continue
    if not sides:
        raise DataError(f"{data.source}: none of {len(pictures)} sampled training images can be read")
    return int(median(sides))
