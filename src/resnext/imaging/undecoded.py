"""Photographs decoded no larger than need be.

A JPEG stores the frequencies of blocks of 8x8 pixels. Decoding only the lowest of them gives an image of a half, a
quarter or an eighth of the sides, and computes nothing for pixels that resizing would average away.
"""

import math
from dataclasses import dataclass

from PIL import Image

from resnext.imaging.decode import opened, orientation, to_rgb

Box = tuple[float, float, float, float]

_TURNED_SIDEWAYS = frozenset({5, 6, 7, 8})


@dataclass(frozen=True, slots=True)
class Undecoded:
    """An opened image of which only the header has been read."""

    image: Image.Image

    @classmethod
    def of(cls, content: bytes) -> "Undecoded":
        """Open an encoded image. Raises `ImageError` as `opened` does."""
        return cls(opened(content))

    @property
    def size(self) -> tuple[int, int]:
        """Width and height of the whole image, upright."""
        return self._turned(self.image.size)

    def decoded(self, width: int, height: int) -> Image.Image:
        """Decode to RGB, upright; a JPEG smaller, as far as at least these sides are left. Raises as `to_rgb` does."""
        self.image.draft(None, self._turned((width, height)))
        return to_rgb(self.image)

    def _turned(self, size: tuple[int, int]) -> tuple[int, int]:
        return size[::-1] if orientation(self.image) in _TURNED_SIDEWAYS else size


def decoded_for(image: Image.Image | Undecoded, box: Box, side: int) -> tuple[Image.Image, Box]:
    """Return an image, decoded if need be, in which a box has at least `side` pixels a side if it has in the whole one.

    The box, left, top, right and bottom of a part of the whole image, is returned as it lies in that image.
    """
    if isinstance(image, Image.Image):
        return image, box
    left, top, right, bottom = box
    width, height = image.size
    small = image.decoded(math.ceil(width * side / (right - left)), math.ceil(height * side / (bottom - top)))
    across, down = small.width / width, small.height / height
    return small, (left * across, top * down, right * across, bottom * down)
