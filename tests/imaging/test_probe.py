from io import BytesIO
from typing import Any

import pytest
from PIL import Image

from resnext.imaging.decode import ImageError
from resnext.imaging.probe import probe


def encoded(mode: str, file_format: str, **options: Any) -> bytes:
    buffer = BytesIO()
    Image.new(mode, (6, 4)).save(buffer, file_format, **options)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("mode", "file_format", "suffix"),
    [
        ("RGB", "JPEG", ".JPG"),
        ("CMYK", "JPEG", ".jfif"),
        ("L", "PNG", ".png"),
        ("I;16", "PNG", ".png"),
        ("P", "GIF", ".gif"),
        ("RGB", "BMP", ".bmp"),
        ("L", "PPM", ".pgm"),
        ("RGB", "TIFF", ".tif"),
        ("RGB", "WEBP", ".webp"),
    ],
)
def test_the_header_says_format_and_mode(mode: str, file_format: str, suffix: str) -> None:
    header = probe(encoded(mode, file_format))
    assert (header.format, header.mode, header.orientation) == (file_format, mode, 1)
    assert not header.is_animated and not header.has_alpha
    assert header.fits(suffix) and not header.fits(".jpeg" if file_format != "JPEG" else ".png")


def test_alpha_orientation_and_frames_are_seen() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    assert probe(encoded("RGB", "JPEG", exif=exif)).orientation == 6
    assert probe(encoded("RGBA", "PNG")).has_alpha
    assert probe(encoded("P", "PNG", transparency=0)).has_alpha
    assert probe(encoded("RGB", "GIF", save_all=True, append_images=[Image.new("RGB", (6, 4), "red")])).is_animated


def test_a_photograph_with_a_preview_in_it_is_a_jpeg_of_one_frame() -> None:
    header = probe(encoded("RGB", "MPO", save_all=True, append_images=[Image.new("RGB", (3, 2))]))
    assert (header.format, header.is_animated) == ("JPEG", False)


@pytest.mark.parametrize("content", [b"", b"words", encoded("RGB", "PNG")[:20]])
def test_what_has_no_header_is_refused(content: bytes) -> None:
    with pytest.raises(ImageError):
        probe(content)


def test_a_cut_image_still_has_its_header() -> None:
    content = encoded("RGB", "PNG")
    assert probe(content[:-20]).format == "PNG"


@pytest.mark.parametrize(("orientation", "is_turned"), [(0, False), (1, False), (3, True), (8, True), (9, False)])
def test_only_orientations_that_are_carried_out_count_as_turned(orientation: int, is_turned: bool) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    assert probe(encoded("RGB", "JPEG", exif=exif)).is_turned is is_turned
