"""What is kept of every image that is inspected: each is decoded once, and a kilobyte remains."""

import os
from collections.abc import Container, Iterator
from contextlib import suppress
from dataclasses import dataclass

from PIL import Image

from resnext.data.dataset import Data, Dataset, EncodedDataset
from resnext.data.threads import in_threads
from resnext.imaging.decode import Fault, ImageError, decode
from resnext.imaging.fingerprint import Fingerprint, fingerprint
from resnext.imaging.probe import Header, probe


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """A decoded image: its size in pixels, upright, and what tells it from others."""

    width: int
    height: int
    fingerprint: Fingerprint

    @property
    def shorter_side(self) -> int:
        """The shorter side, in pixels."""
        return min(self.width, self.height)

    @property
    def num_pixels(self) -> int:
        """The number of pixels."""
        return self.width * self.height


@dataclass(frozen=True, slots=True, kw_only=True)
class Damage:
    """Why an image cannot be decoded."""

    fault: Fault
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """An image that was looked at. `header` is None where it is not stored encoded, or has none to be read."""

    name: str
    split: str
    class_name: str
    header: Header | None
    result: Seen | Damage


def look_at(data: Data, num_threads: int | None = None) -> Iterator[Look]:
    """Yield a look at every image of a data set, split by split, in order; by as many threads as cores if left out.

    Raises `DataError` where it is a stream.
    """
    items = ((name, index) for name in data.splits for index in range(len(data.indexed(name).labels)))
    return in_threads(
        lambda item: look(data, *item), items, (os.cpu_count() or 1) if num_threads is None else num_threads
    )


def look(data: Data, split: str, index: int) -> Look:
    """Return a look at one image of a data set."""
    dataset = data.indexed(split)
    header, result = _result(dataset, index)
    class_name = data.class_names[dataset.labels[index]]
    return Look(name=dataset.name(index), split=split, class_name=class_name, header=header, result=result)


def images_named(data: Data, names: Container[str]) -> Iterator[tuple[str, Image.Image]]:
    """Yield those of some images of a data set that can be decoded, with their names."""
    for dataset in map(data.indexed, data.splits):
        for index in range(len(dataset.labels)):
            if (name := dataset.name(index)) in names:
                with suppress(ImageError):
                    yield name, dataset.image(index)


def _result(dataset: Dataset, index: int) -> tuple[Header | None, Seen | Damage]:
    header = None
    try:
        if isinstance(dataset, EncodedDataset):
            content = dataset.content(index)
            header = _header(content)
            image = decode(content)
        else:
            image = dataset.image(index)
    except ImageError as error:
        return header, Damage(fault=error.fault, reason=str(error))
    return header, Seen(width=image.width, height=image.height, fingerprint=fingerprint(image))


def _header(content: bytes) -> Header | None:
    try:
        return probe(content)
    except ImageError:
        return None  # decoding says what is wrong
