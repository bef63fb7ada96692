"""JPEG files decoded in part: of the upper rows only, at a fraction of the sides, in the quickest arithmetic.

A JPEG stores the frequencies of blocks of 8x8 pixels. Decoding only the lowest of them gives an image of a half, a
quarter or an eighth of the sides, and computes nothing for pixels that resizing would average away. The blocks lie in
the file one after another, without places known beforehand, so that rows above those needed have to be read, and those
below need not be: the header of the file that is decoded says that it has no more. (ITU T.81, B.2)
"""

from importlib.util import find_spec

import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[np.uint8]

SCALES = (8, 4, 2, 1)

_END = b"\xff\xd9"
_MARKER, _BASELINE = 0xFF, 0xC0
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}


def is_installed() -> bool:
    """Tell whether simplejpeg, which decodes, is there."""
    return find_spec("simplejpeg") is not None


def decode_rows(content: bytes, size: tuple[int, int], num_rows: int, scale: int) -> Pixels:
    """Decode a JPEG file of a size to RGB, so many rows at least, at 1 / `scale` of the sides, rounded up.

    Nothing is turned as EXIF says. Raises `ValueError` where the file is damaged or of an unusual kind.
    """
    from simplejpeg import decode_jpeg  # noqa: PLC0415 - an extra

    width, height = size
    shorter = _cut(content, size, num_rows) if num_rows < height else None
    least = width, height if shorter is None else num_rows
    pixels: Pixels = decode_jpeg(
        content if shorter is None else shorter,
        min_width=-(-least[0] // scale),
        min_height=-(-least[1] // scale),
        min_factor=scale,
        fastdct=True,
        fastupsample=True,
        strict=shorter is None,  # rows that are left over count as damage
    )
    return pixels


def _cut(content: bytes, size: tuple[int, int], num_rows: int) -> bytes | None:
    """Return a file whose header tells of fewer rows; None where it is no whole one of rows in their order."""
    place = _place_of_sides(content)
    width, height = (side.to_bytes(2, "big") for side in size)
    if place is None or content[place : place + 4] != height + width or not content.endswith(_END):
        return None
    return content[:place] + num_rows.to_bytes(2, "big") + content[place + 2 :]


def _place_of_sides(content: bytes) -> int | None:
    """Return where a baseline file tells its height and width; None where it is of another kind."""
    place = 2
    while place + 4 <= len(content) and content[place] == _MARKER:
        if content[place + 1] in _FRAMES:
            return place + 5 if content[place + 1] == _BASELINE else None
        place += 2 + int.from_bytes(content[place + 2 : place + 4], "big")
    return None
