"""What a data set is to everything above: labelled images by index, split, with class names and a content digest."""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from resnext.data.stream import Stream
from resnext.spec.preprocessing import Colour


class DataError(ValueError):
    """A data set that cannot be used as asked; the message says what is wrong and what to do."""


class Dataset(Protocol):
    """Labelled images by index."""

    @property
    def labels(self) -> Sequence[int]:
        """The class of every image, known without decoding one."""
        ...

    def name(self, index: int) -> str:
        """Return what messages call an image."""
        ...

    def image(self, index: int) -> Image.Image:
        """Return an image as RGB. Raises `ImageError` where it cannot be read or decoded."""
        ...


@runtime_checkable
class EncodedDataset(Dataset, Protocol):
    """Labelled images by index that are kept encoded."""

    def content(self, index: int) -> bytes:
        """Return an image as it is encoded. Raises `ImageError` where it cannot be read."""
        ...


class Picture(Protocol):
    """One labelled image, of a data set or a stream, by its index there."""

    @property
    def index(self) -> int: ...  # noqa: D102 - see the class

    @property
    def name(self) -> str: ...  # noqa: D102

    @property
    def label(self) -> int: ...  # noqa: D102

    def image(self) -> Image.Image:
        """Return the image as RGB. Raises `ImageError` where it cannot be read or decoded."""
        ...


@dataclass(frozen=True, slots=True)
class Indexed:
    """An image of a data set, read when asked for."""

    dataset: Dataset
    index: int

    @property
    def name(self) -> str:
        """What messages call it."""
        return self.dataset.name(self.index)

    @property
    def label(self) -> int:
        """Its class."""
        return self.dataset.labels[self.index]

    def image(self) -> Image.Image:
        """Return it as RGB. Raises `ImageError` where it cannot be read or decoded."""
        return self.dataset.image(self.index)


@dataclass(frozen=True, kw_only=True)
class Data:
    """A data set as opened: its splits (`train`, and `val` or `test` or both), and what was noticed on the way.

    `selection` is the split on which the best epoch is chosen. `problems` has a line for everything that is wrong
    with the images and was worked around. `has_own_splits` says whether the splits came with the data;
    `is_handwriting`, that the images have a left and a right, fill their frame and slant, as photographs do not.
    `colour_mean` and `colour_std`, of RGB in [0, 1], are published figures of the training images, where there are any.
    """

    source: str
    class_names: tuple[str, ...]
    splits: Mapping[str, Dataset | Stream]
    digest: str
    selection: str = "val"
    problems: tuple[str, ...] = ()
    has_own_splits: bool = True
    is_handwriting: bool = False
    colour_mean: Colour | None = None
    colour_std: Colour | None = None

    @property
    def scores_test(self) -> bool:
        """Whether there are test images to score once, at the end, because nothing was chosen on them."""
        return "test" in self.splits and self.selection != "test"

    def split(self, name: str) -> Dataset | Stream:
        """Return a split by name. Raises `DataError` where the data has none of that name."""
        if name not in self.splits:
            raise DataError(f"{self.source} has no split {name!r}; it has {', '.join(self.splits)}")
        return self.splits[name]

    def indexed(self, name: str) -> Dataset:
        """Return a split whose images can be read in any order. Raises `DataError` where it is a stream, or missing."""
        split = self.split(name)
        if isinstance(split, Stream):
            raise DataError(f"{self.source} is a stream, whose images cannot be read in any order; unpack it first")
        return split


@dataclass(frozen=True)
class ArrayDataset:
    """Images held in memory, (images, height, width) grey or (images, height, width, 3) RGB, as bytes."""

    source: str
    pixels: NDArray[np.uint8]
    labels: Sequence[int]

    def name(self, index: int) -> str:
        """Return the source and the position of an image."""
        return f"{self.source}[{index}]"

    def image(self, index: int) -> Image.Image:
        """Return an image as RGB."""
        return Image.fromarray(self.pixels[index]).convert("RGB")


def digest_of(parts: Iterable[str | bytes]) -> str:
    """Return the SHA-256 of a sequence of parts, each delimited by its length."""
    total = hashlib.sha256()
    for part in parts:
        content = part.encode("utf-8", "surrogateescape") if isinstance(part, str) else part
        total.update(len(content).to_bytes(8, "big") + content)
    return total.hexdigest()
