"""Data sets seen another way: under other labels, several as one, or remembered once decoded."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import accumulate

from PIL import Image

from resnext.data.dataset import Data, DataError, Dataset, Indexed, Picture
from resnext.data.stream import Stream

MAX_REMEMBERED_BYTES = 2**28

_BYTES_PER_PIXEL, _BYTES_PER_IMAGE = 4, 4096  # what Pillow takes, measured on images of 8 to 64 pixels a side


@dataclass(frozen=True)
class Relabelled:
    """A data set under other labels."""

    dataset: Dataset
    labels: Sequence[int]

    def origin(self, index: int) -> tuple[Dataset, int]:
        """Return the data set that an image is of, and its index there."""
        return self.dataset, index

    def name(self, index: int) -> str:
        """Return what messages call an image."""
        return self.dataset.name(index)

    def image(self, index: int) -> Image.Image:
        """Return an image as RGB."""
        return self.dataset.image(index)


@dataclass(frozen=True)
class Joined:
    """Several data sets, one after another."""

    parts: tuple[Dataset, ...]

    @cached_property
    def labels(self) -> list[int]:
        """The labels of all parts."""
        return [label for part in self.parts for label in part.labels]

    def name(self, index: int) -> str:
        """Return what messages call an image."""
        part, place = self.origin(index)
        return part.name(place)

    def image(self, index: int) -> Image.Image:
        """Return an image as RGB."""
        part, place = self.origin(index)
        return part.image(place)

    def origin(self, index: int) -> tuple[Dataset, int]:
        """Return the data set that an image is of, and its index there."""
        for part in self.parts:
            if index < len(part.labels):
                return part, index
            index -= len(part.labels)
        raise IndexError("beyond the last image of the last part")


@dataclass(frozen=True)
class Selected:
    """Some images of a data set, in the order of their indices in it."""

    dataset: Dataset
    indices: Sequence[int]

    @cached_property
    def labels(self) -> list[int]:
        """The labels of the selected images."""
        return [self.dataset.labels[index] for index in self.indices]

    def origin(self, index: int) -> tuple[Dataset, int]:
        """Return the data set that an image is of, and its index there."""
        return self.dataset, self.indices[index]

    def name(self, index: int) -> str:
        """Return what messages call an image."""
        return self.dataset.name(self.indices[index])

    def image(self, index: int) -> Image.Image:
        """Return an image as RGB."""
        return self.dataset.image(self.indices[index])


class Remembered:
    """A data set that keeps decoded images in memory, exactly, as long as they fit into `MAX_REMEMBERED_BYTES`."""

    def __init__(self, dataset: Dataset) -> None:
        self.dataset = dataset
        self.labels = dataset.labels
        self._images: dict[int, Image.Image] = {}
        self._num_bytes = 0

    def name(self, index: int) -> str:
        """Return what messages call an image."""
        return self.dataset.name(index)

    def image(self, index: int) -> Image.Image:
        """Return an image as RGB, decoded now or remembered."""
        if index in self._images:
            return self._images[index]
        image = self.dataset.image(index)
        num_bytes = remembered_bytes(image)
        if self._num_bytes + num_bytes <= MAX_REMEMBERED_BYTES:
            self._num_bytes += num_bytes
            self._images[index] = image
        return image


def remembered_bytes(image: Image.Image) -> int:
    """Return the memory that a decoded image takes."""
    return _BYTES_PER_PIXEL * image.width * image.height + _BYTES_PER_IMAGE


def under_classes(data: Data, class_names: Sequence[str]) -> Data:
    """Return the data labelled by the classes of a trained classifier, matched by name.

    Raises `DataError` where the data has a class that the classifier does not know.
    """
    if unknown := [name for name in data.class_names if name not in class_names]:
        raise DataError(
            f"{data.source} has classes that the classifier does not know: {', '.join(unknown)};"
            f" it knows {', '.join(class_names)}"
        )
    labels = [class_names.index(name) for name in data.class_names]
    splits = {name: _relabelled(split, labels) for name, split in data.splits.items()}
    return replace(data, class_names=tuple(class_names), splits=splits)


def _relabelled(split: Dataset | Stream, labels: Sequence[int]) -> Dataset | Stream:
    if isinstance(split, Stream):
        return split.relabelled(labels)
    return Relabelled(split, [labels[label] for label in split.labels])


def labelled_by_place(split: Dataset | Stream) -> Dataset | Stream:
    """Return a split in which the label of every image is its place, so that parts of it can be put in order again."""
    if not isinstance(split, Stream):
        return Relabelled(split, range(len(split.labels)))
    ends = accumulate(len(shard.places) for shard in split.shards)
    return Stream(
        tuple(
            replace(shard, labels=range(end - len(shard.places), end))
            for shard, end in zip(split.shards, ends, strict=True)
        )
    )


def pictures(split: Dataset | Stream) -> Iterator[Picture]:
    """Yield every image of a split, unread where it is not a stream."""
    if isinstance(split, Stream):
        return split.samples()
    return (Indexed(split, index) for index in range(len(split.labels)))


def joined(splits: Sequence[Dataset | Stream]) -> Dataset | Stream:
    """Return splits of one data set, one after another."""
    streams = [split for split in splits if isinstance(split, Stream)]
    if streams:
        return Stream.of([shard for stream in streams for shard in stream.shards])
    return Joined(tuple(split for split in splits if not isinstance(split, Stream)))


def share(split: Dataset | Stream, rank: int, num_ranks: int) -> Dataset | Stream:
    """Return the part of a split that one of several processes takes, each image in one of them.

    It is every so many images; of a stream it is a stretch, so that no more shards than need be are read twice.
    """
    num_images = len(split.labels)
    if isinstance(split, Stream):
        return split.stretch(num_images * rank // num_ranks, num_images * (rank + 1) // num_ranks)
    return Selected(split, range(rank, num_images, num_ranks))
