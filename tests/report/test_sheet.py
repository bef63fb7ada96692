from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from resnext.report.sheet import SheetRow, draw_sheet, save_sheet


@pytest.fixture
def row() -> Callable[..., SheetRow]:
    """Make a row of a red original and variants, each of one colour that no letter has."""

    def make(title: str = "cat", *, side: int = 32, shades: tuple[int, ...] = (10, 200)) -> SheetRow:
        variants = [np.full((side, side, 3), (shade, 0, 255), dtype=np.uint8) for shade in shades]
        return SheetRow(title=title, original=Image.new("RGB", (60, 30), "red"), variants=variants)

    return make


def colours(sheet: Image.Image) -> set[tuple[int, ...]]:
    return {colour for _, colour in sheet.getcolors(2**16) or ()}  # type: ignore[misc]


def test_original_and_variants_stand_in_a_row(row: Callable[..., SheetRow]) -> None:
    sheet = np.asarray(draw_sheet([row()]))
    columns = [
        np.flatnonzero((sheet == colour).all(axis=2).any(axis=0))
        for colour in ((255, 0, 0), (10, 0, 255), (200, 0, 255))
    ]
    assert [len(column) for column in columns] == [96, 96, 96]
    assert columns[0].max() < columns[1].min()
    assert columns[1].max() < columns[2].min()


def test_originals_keep_their_proportions(row: Callable[..., SheetRow]) -> None:
    is_red = (np.asarray(draw_sheet([row()])) == (255, 0, 0)).all(axis=2)
    assert (is_red.any(axis=1).sum(), is_red.any(axis=0).sum()) == (48, 96)


@pytest.mark.parametrize(("side", "tile"), [(16, 96), (32, 96), (40, 120), (224, 224)])
def test_small_variants_are_enlarged_by_whole_numbers(row: Callable[..., SheetRow], side: int, tile: int) -> None:
    is_variant = (np.asarray(draw_sheet([row(side=side, shades=(10,))])) == (10, 0, 255)).all(axis=2)
    assert (is_variant.any(axis=1).sum(), is_variant.any(axis=0).sum()) == (tile, tile)


def test_every_image_has_its_row(row: Callable[..., SheetRow]) -> None:
    one, three = (draw_sheet([row()] * number) for number in (1, 3))
    assert one.width == three.width
    assert (three.height - one.height) % 2 == 0
    assert three.height > 2.5 * (one.height - 30)


@pytest.mark.parametrize("title", ["", "кошка", "two\nlines", "x" * 500, "<b>&amp;"])
def test_any_title_can_be_drawn(row: Callable[..., SheetRow], title: str) -> None:
    assert draw_sheet([row(title)]).size == draw_sheet([row()]).size


def test_titles_are_seen(row: Callable[..., SheetRow]) -> None:
    assert draw_sheet([row("cat")]).tobytes() != draw_sheet([row("dog")]).tobytes()


def test_the_file_is_a_png(row: Callable[..., SheetRow], tmp_path: Path) -> None:
    save_sheet([row()], tmp_path / "sheet.png")
    with Image.open(tmp_path / "sheet.png") as image:
        assert image.format == "PNG"
        assert (255, 0, 0) in colours(image.convert("RGB"))


def test_a_file_that_cannot_be_written_is_named(row: Callable[..., SheetRow], tmp_path: Path) -> None:
    with pytest.raises(OSError, match=r"sheet.png could not be written: No such file"):
        save_sheet([row()], tmp_path / "nowhere" / "sheet.png")
