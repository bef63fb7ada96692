"""What a recipe needs to know of a data set, measured on a sample of its images."""

from collections.abc import Sequence
from itertools import islice
from statistics import median

import numpy as np

from resnext.data.dataset import Data, DataError, Dataset, Indexed, Picture
from resnext.data.stream import Stream
from resnext.imaging.decode import ImageError

_SAMPLE = 32


def shorter_side(data: Data) -> int:
    """Return the median of the shorter sides, in pixels, of some training images spread over the set.

    Raises `DataError` where none of them can be read.
    """
    sides = []
    pictures = _sample(data.split("train"))
    for picture in pictures:
        try:
            sides.append(min(picture.image().size))
        except ImageError:
            continue
    if not sides:
        raise DataError(f"{data.source}: none of {len(pictures)} sampled training images can be read")
    return int(median(sides))


def _sample(train: Dataset | Stream) -> Sequence[Picture]:
    """Return images spread over a data set, or the first of shards spread over a stream."""
    if isinstance(train, Stream):
        shards = [train.shards[place] for place in _spread(len(train.shards))]
        return [sample for shard in shards for sample in islice(shard.samples(), -(-_SAMPLE // len(shards)))]
    return [Indexed(train, index) for index in _spread(len(train.labels))]


def _spread(number: int) -> list[int]:
    places: list[int] = np.linspace(0, number - 1, min(_SAMPLE, number)).round().astype(int).tolist()
    return places
