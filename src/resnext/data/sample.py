"""A few images that stand for all of a split."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import islice

import numpy as np
from PIL import Image

from resnext.data.dataset import Dataset, Indexed, Picture
from resnext.data.stream import Sample, Stream


def sample(split: Dataset | Stream, num_images: int) -> Sequence[Picture]:
    """Return so many images or a few more, spread over a data set, or the first of shards spread over a stream.

    There are fewer where the split, or the shards, have fewer. Raises `OSError` where a shard cannot be read.
    """
    if isinstance(split, Stream):
        return stream_sample(split, num_images)
    return [Indexed(split, index) for index in spread(len(split.labels), num_images)]


def stream_sample(stream: Stream, num_images: int) -> list[Sample]:
    """Return the first images of shards spread over a stream, see `sample`."""
    shards = [stream.shards[place] for place in spread(len(stream.shards), num_images)]
    return [picture for shard in shards for picture in islice(shard.samples(), -(-num_images // len(shards)))]


def spread(number: int, most: int) -> list[int]:
    """Return all places of a sequence of a length, or so many spread over it."""
    places: list[int] = np.linspace(0, number - 1, min(most, number)).round().astype(int).tolist()
    return places


@dataclass(frozen=True)
class Held:
    """Some images of a stream, held in memory as they are encoded, so that they can be read in any order."""

    samples: Sequence[Sample]

    @cached_property
    def labels(self) -> list[int]:
        """The labels of the images."""
        return [held.label for held in self.samples]

    def name(self, index: int) -> str:
        """Return what messages call an image."""
        return self.samples[index].name

    def image(self, index: int) -> Image.Image:
        """Return an image as RGB. Raises `ImageError` where it cannot be decoded."""
        return self.samples[index].image()
