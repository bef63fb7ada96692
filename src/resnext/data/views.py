"""Data sets seen another way: under other labels, several as one, or remembered once decoded."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from PIL import Image

from resnext.data.dataset import Data, DataError, Dataset

MAX_REMEMBERED_BYTES = 2**28

_BYTES_PER_PIXEL, _BYTES_PER_IMAGE = 4, 4096  # what Pillow takes, measured on images of 8 to 64 pixels a side


@dataclass(frozen=True)
class Relabelled:
    """A data set under other labels."""

    dataset: Dataset
    labels: Sequence[int]

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
        part, place = self._find(index)
        return part.name(place)

    def image(self, index: int) -> Image.Image:
        """Return an image as RGB."""
        part, place = self._find(index)
        return part.image(place)

    def _find(self, index: int) -> tuple[Dataset, int]:
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
        num_bytes = _BYTES_PER_PIXEL * image.width * image.height + _BYTES_PER_IMAGE
        if self._num_bytes + num_bytes <= MAX_REMEMBERED_BYTES:
            self._num_bytes += num_bytes
            self._images[index] = image
        return image


def under_classes(data: Data, class_names: Sequence[str]) -> Data:
    """Return the data labelled by the classes of a trained classifier, matched by name.

    Raises `DataError` where the data has a class that the classifier does not know.
    """
    if unknown := [name for name in data.class_names if name not in class_names]:
        raise DataError(
            f"{data.source} has classes that the classifier does not know: {', '.join(unknown)};"
            f" it knows {', '.join(class_names)}"
        )
    index = [class_names.index(name) for name in data.class_names]
    splits = {name: Relabelled(split, [index[label] for label in split.labels]) for name, split in data.splits.items()}
    return replace(data, class_names=tuple(class_names), splits=splits)
