"""A sheet of training images: the original of each, and beside it variants of it."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont, ImageOps

_MIN_TILE, _GAP = 96, 6
_TITLE_HEIGHT, _HEAD_HEIGHT = 20, 28
_FONT_SIZE = 13
_PAPER, _INK, _FAINT = "white", "#1a1a1a", "#666666"
_ELLIPSIS = "…"


@dataclass(frozen=True, slots=True, kw_only=True)
class SheetRow:
    """An image as it is, its title, and variants of it as bytes (height, width, 3), all of one size."""

    title: str
    original: Image.Image
    variants: Sequence[NDArray[np.uint8]]


def draw_sheet(rows: Sequence[SheetRow]) -> Image.Image:
    """Draw a row for each image; small variants are enlarged by a whole number, so that every pixel shows."""
    size = rows[0].variants[0].shape[0]
    scale = -(-_MIN_TILE // size)
    tile = size * scale
    num_columns = 1 + max(len(row.variants) for row in rows)
    row_height = _TITLE_HEIGHT + tile + _GAP
    extent = (_GAP + num_columns * (tile + _GAP), _HEAD_HEIGHT + len(rows) * row_height)
    sheet = Image.new("RGB", extent, _PAPER)
    draw, font = ImageDraw.Draw(sheet), _font()
    for column, heading in enumerate(("original", f"as the network sees it in training, {size}x{size} pixels")):
        draw.text((_GAP + column * (tile + _GAP), _GAP), heading, _FAINT, font)
    for number, row in enumerate(rows):
        top = _HEAD_HEIGHT + number * row_height
        draw.text((_GAP, top), _fitted(row.title, font, extent[0] - 2 * _GAP), _INK, font)
        for column, image in enumerate(_tiles(row, tile)):
            sheet.paste(image, (_GAP + column * (tile + _GAP), top + _TITLE_HEIGHT))
    return sheet


def save_sheet(rows: Sequence[SheetRow], path: Path) -> None:
    """Draw a sheet into a PNG file. Raises `OSError` where it cannot be written."""
    try:
        draw_sheet(rows).save(path, format="PNG")
    except OSError as error:
        raise OSError(f"{path} could not be written: {error.strerror or error}") from None


def _tiles(row: SheetRow, tile: int) -> list[Image.Image]:
    original = ImageOps.pad(row.original, (tile, tile), color=_PAPER)
    variants = (Image.fromarray(variant) for variant in row.variants)
    return [original, *(variant.resize((tile, tile), Image.Resampling.NEAREST) for variant in variants)]


def _fitted(title: str, font: ImageFont.FreeTypeFont, width: int) -> str:
    """Shorten a title to a width in pixels."""
    line = " ".join(title.split())
    if font.getlength(line) <= width:
        return line
    while line and font.getlength(line + _ELLIPSIS) > width:
        line = line[:-1]
    return line + _ELLIPSIS


def _font() -> ImageFont.FreeTypeFont:
    """Return the font that comes with matplotlib, which has more scripts than Pillow's own."""
    import matplotlib  # noqa: PLC0415 - loads slowly, and only a sheet needs it

    return ImageFont.truetype(str(Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf"), _FONT_SIZE)
