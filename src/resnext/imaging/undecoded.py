"""Crops of photographs, decoded and resampled as quickly as can be, for training: a level of colour is no matter."""

import math
from contextlib import suppress
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image
from torch.nn import functional as F

from resnext.imaging.decode import decode, opened, orientation, turned
from resnext.imaging.jpeg import SCALES, Pixels, decode_rows
from resnext.spec.preprocessing import Interpolation

Box = tuple[float, float, float, float]

_JPEG = frozenset({"JPEG", "MPO"})
_JPEG_MODES = frozenset({"L", "RGB"})
_MIRRORED, _UPSIDE_DOWN, _SIDEWAYS = frozenset({2, 3, 6, 7}), frozenset({3, 4, 7, 8}), frozenset({5, 6, 7, 8})


@dataclass(frozen=True, slots=True, kw_only=True)
class Undecoded:
    """An encoded image of which only the header has been read.

    `stored_size` is its width and height as they are in the file, and `orientation` how that is to be turned, by EXIF.
    """

    content: bytes
    stored_size: tuple[int, int]
    orientation: int
    is_jpeg: bool

    @classmethod
    def of(cls, content: bytes) -> "Undecoded":
        """Read the header of an encoded image. Raises `ImageError` as `opened` does."""
        with opened(content) as image:
            return cls(
                content=content,
                stored_size=image.size,
                orientation=orientation(image),
                is_jpeg=image.format in _JPEG and image.mode in _JPEG_MODES,
            )

    @property
    def size(self) -> tuple[int, int]:
        """Width and height, upright."""
        return self.stored_size[::-1] if self.orientation in _SIDEWAYS else self.stored_size

    def decoded(self, width: int, height: int) -> Image.Image:
        """Decode to RGB, upright; a JPEG smaller, as far as at least these sides are left.

        Raises `ImageError` as `decode` does, and `ImportError` where simplejpeg is not installed.
        """
        scale = _scale(self.size[0] / width, self.size[1] / height)
        pixels = self._stored(scale, self.stored_size[1])
        return decode(self.content) if pixels is None else turned(Image.fromarray(pixels), self.orientation)

    def cropped(self, box: Box, side: int, interpolation: Interpolation) -> Image.Image:
        """Return what lies in a box, left, top, right and bottom, resized to a square. Raises as `decoded` does.

        It is decoded so small that the box keeps `side` pixels a side, if it had them, and grown to whole pixels.
        """
        left, top, right, bottom = stored = self._as_stored(box)
        scale = _scale((right - left) / side, (bottom - top) / side)
        pixels = self._stored(scale, math.ceil(bottom))
        if pixels is None:
            return _resized(np.array(decode(self.content)), box, side, interpolation)
        left, top, right, bottom = (edge / scale for edge in stored)
        return turned(_resized(pixels, (left, top, right, bottom), side, interpolation), self.orientation)

    def _stored(self, scale: int, num_rows: int) -> Pixels | None:
        """Decode rows as they are in the file; None where that is left to `decode`, which says what is wrong."""
        if self.is_jpeg:
            with suppress(ValueError):
                return decode_rows(self.content, self.stored_size, num_rows, scale)
        return None

    def _as_stored(self, box: Box) -> Box:
        """Return where a box of the upright image lies in the file."""
        left, top, right, bottom = box
        width, height = self.size
        if self.orientation in _MIRRORED:
            left, right = width - right, width - left
        if self.orientation in _UPSIDE_DOWN:
            top, bottom = height - bottom, height - top
        return (top, left, bottom, right) if self.orientation in _SIDEWAYS else (left, top, right, bottom)


def _scale(across: float, down: float) -> int:
    """Return the smallest fraction, as the number that it divides by, at which no more is lost than may be."""
    return next((scale for scale in SCALES if scale <= min(across, down)), 1)


def _resized(pixels: Pixels, box: Box, side: int, interpolation: Interpolation) -> Image.Image:
    """Resize to a square by torch, which takes a third of Pillow's time and differs by a level here and there."""
    left, top, right, bottom = box
    part = pixels[max(0, math.floor(top)) : math.ceil(bottom), max(0, math.floor(left)) : math.ceil(right)]
    image = torch.from_numpy(np.ascontiguousarray(part))[None].permute(0, 3, 1, 2)
    square = F.interpolate(image, size=(side, side), mode=interpolation, antialias=True)
    return Image.fromarray(square[0].permute(1, 2, 0).contiguous().numpy())
