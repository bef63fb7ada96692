"""Crops of photographs, decoded and resampled as quickly as can be: for training, where a level of colour is no matter.

A JPEG stores the frequencies of blocks of 8x8 pixels. Decoding only the lowest of them gives an image of a half, a
quarter or an eighth of the sides, and computes nothing for pixels that resizing would average away.
"""

import math
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image
from torch.nn import functional as F

from resnext.imaging.decode import opened, orientation, to_rgb
from resnext.spec.preprocessing import Interpolation

Box = tuple[float, float, float, float]

_TURNED_SIDEWAYS = frozenset({5, 6, 7, 8})


@dataclass(frozen=True, slots=True)
class Undecoded:
    """An opened image of which only the header has been read; what is taken of it is taken once."""

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

    def cropped(self, box: Box, side: int, interpolation: Interpolation) -> Image.Image:
        """Return what lies in a box, left, top, right and bottom, resized to a square. Raises as `to_rgb` does.

        It is decoded so small that the box keeps `side` pixels a side, if it had them, and grown to whole pixels.
        """
        left, top, right, bottom = box
        width, height = self.size
        image = self.decoded(math.ceil(width * side / (right - left)), math.ceil(height * side / (bottom - top)))
        across, down = image.width / width, image.height / height
        first = math.floor(left * across), math.floor(top * down)
        last = min(image.width, math.ceil(right * across)), min(image.height, math.ceil(bottom * down))
        return _resized(image.crop((*first, *last)), side, interpolation)

    def _turned(self, size: tuple[int, int]) -> tuple[int, int]:
        return size[::-1] if orientation(self.image) in _TURNED_SIDEWAYS else size


def _resized(image: Image.Image, side: int, interpolation: Interpolation) -> Image.Image:
    """Resize to a square by torch, which takes a third of Pillow's time and differs by a level here and there."""
    pixels = torch.from_numpy(np.array(image))[None].permute(0, 3, 1, 2)
    resized = F.interpolate(pixels, size=(side, side), mode=interpolation, antialias=True)
    return Image.fromarray(resized.permute(0, 2, 3, 1)[0].contiguous().numpy())
