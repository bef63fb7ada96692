"""A look at every image that is inspected: each is decoded once, in the order in which it is stored."""

import os
from collections.abc import Container, Iterator
from contextlib import suppress
from dataclasses import dataclass

from PIL import Image

from resnext.data.content import content_of
from resnext.data.dataset import Data, Picture
from resnext.data.views import pictures
from resnext.imaging.decode import Fault, ImageError, decode
from resnext.imaging.fingerprint import Fingerprint, fingerprint
from resnext.imaging.probe import Header, probe
from resnext.imaging.threads import in_threads


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """The size of a decoded image in pixels, upright."""

    width: int
    height: int

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


Looked = tuple[Look, Fingerprint | None]


def look_at(data: Data, num_threads: int | None = None) -> Iterator[Looked]:
    """Yield a look at every image of a data set, in order, and the fingerprint of those that can be decoded.

    A stream is read once, split by split. As many threads as cores decode if their number is left out.
    Raises `OSError` where a shard of a stream cannot be read.
    """
    items = ((split, picture) for split in data.splits for picture in pictures(data.split(split)))
    return in_threads(
        lambda item: look(data, *item), items, (os.cpu_count() or 1) if num_threads is None else num_threads
    )


def look(data: Data, split: str, picture: Picture) -> Looked:
    """Return a look at one image of a data set, and its fingerprint where it can be decoded."""
    header, result, mark = _result(picture)
    class_name = data.class_names[picture.label]
    return Look(name=picture.name, split=split, class_name=class_name, header=header, result=result), mark


def images_named(data: Data, names: Container[str]) -> Iterator[tuple[str, Image.Image]]:
    """Yield those of some images of a data set that can be decoded, with their names."""
    for split in data.splits:
        for picture in pictures(data.split(split)):
            if (name := picture.name) in names:
                with suppress(ImageError):
                    yield name, picture.image()


def _result(picture: Picture) -> tuple[Header | None, Seen | Damage, Fingerprint | None]:
    header = None
    try:
        content = content_of(picture)
        if content is None:
            image = picture.image()
        else:
            header = _header(content)
            image = decode(content)
    except ImageError as error:
        return header, Damage(fault=error.fault, reason=str(error)), None
    return header, Seen(width=image.width, height=image.height), fingerprint(image)


def _header(content: bytes) -> Header | None:
    try:
        return probe(content)
    except ImageError:
        return None  # decoding says what is wrong
