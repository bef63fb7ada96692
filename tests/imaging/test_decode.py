import struct
from collections.abc import Callable
from io import BytesIO
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from resnext.imaging.decode import decode, to_rgb

Pixels = NDArray[np.uint8]

WIDTH, HEIGHT = 24, 16
LOSSLESS: dict[str, dict[str, Any]] = {"PNG": {}, "TIFF": {}, "WEBP": {"lossless": True}}
WHITE, BLACK, RED, BLUE = (255, 255, 255), (0, 0, 0), (255, 0, 0), (0, 0, 255)

# Where the first row and the first column of the stored image belong, by the EXIF standard: 6 says that the first
# row is the right-hand side and the first column the top.
STORED: dict[int, Callable[[Pixels], Pixels]] = {
    1: lambda upright: upright,
    2: lambda upright: upright[:, ::-1],
    3: lambda upright: upright[::-1, ::-1],
    4: lambda upright: upright[::-1],
    5: lambda upright: upright.swapaxes(0, 1),
    6: lambda upright: upright.swapaxes(0, 1)[::-1],
    7: lambda upright: upright.swapaxes(0, 1)[::-1, ::-1],
    8: lambda upright: upright.swapaxes(0, 1)[:, ::-1],
}


def gradient() -> Pixels:
    x, y = np.meshgrid(np.arange(WIDTH), np.arange(HEIGHT))
    return np.stack([x * 10, y * 15, (x + y) * 5], axis=2).astype(np.uint8)


def encoded(image: Image.Image, file_format: str, **options: Any) -> bytes:
    buffer = BytesIO()
    image.save(buffer, file_format, **options)
    return buffer.getvalue()


def pixels_of(image: Image.Image) -> Pixels:
    assert image.mode == "RGB"
    return np.asarray(image)


def colour(content: bytes) -> tuple[int, ...]:
    """Decode an image of one colour, and return that colour."""
    pixels = pixels_of(decode(content)).reshape(-1, 3)
    assert (pixels == pixels[0]).all()
    return tuple(pixels[0].tolist())


@pytest.mark.parametrize("file_format", ["PNG", "TIFF", "WEBP", "BMP", "PPM"])
def test_lossless_formats_come_out_bit_for_bit(file_format: str) -> None:
    options = LOSSLESS.get(file_format, {})
    content = encoded(Image.fromarray(gradient()), file_format, **options)
    assert np.array_equal(pixels_of(decode(content)), gradient())


def test_a_jpeg_comes_out_within_its_loss() -> None:
    content = encoded(Image.fromarray(gradient()), "JPEG", quality=95, subsampling=0)
    difference = pixels_of(decode(content)).astype(int) - gradient()
    assert np.abs(difference).max() <= 8


@pytest.mark.parametrize("file_format", ["GIF", "WEBP", "TIFF"])
def test_the_first_frame_is_the_image(file_format: str) -> None:
    first, second = (Image.new("RGB", (8, 8), which) for which in (RED, BLUE))
    options = LOSSLESS.get(file_format, {})
    assert colour(encoded(first, file_format, save_all=True, append_images=[second], **options)) == RED


@pytest.mark.parametrize("orientation", STORED)
@pytest.mark.parametrize("file_format", LOSSLESS)
def test_every_exif_orientation_comes_out_upright(file_format: str, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored = Image.fromarray(np.ascontiguousarray(STORED[orientation](gradient())))
    content = encoded(stored, file_format, exif=exif, **LOSSLESS[file_format])
    assert np.array_equal(pixels_of(decode(content)), gradient())


@pytest.mark.parametrize("orientation", STORED)
def test_every_exif_orientation_of_a_jpeg_comes_out_upright(orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored = Image.fromarray(np.ascontiguousarray(STORED[orientation](gradient())))
    result = decode(encoded(stored, "JPEG", exif=exif, quality=95, subsampling=0))
    assert result.size == (WIDTH, HEIGHT)
    assert np.abs(pixels_of(result).astype(int) - gradient()).max() <= 8


@pytest.mark.parametrize("orientation", [0, 9, 65_535])
def test_an_orientation_that_does_not_exist_changes_nothing(orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    assert np.array_equal(pixels_of(decode(encoded(Image.fromarray(gradient()), "PNG", exif=exif))), gradient())


@pytest.mark.filterwarnings("ignore")  # to a user, a warning of Pillow's is no error
@pytest.mark.parametrize(("file_format", "prefix"), [("JPEG", b"Exif\x00\x00"), ("PNG", b""), ("WEBP", b"")])
@given(junk=st.binary(min_size=1, max_size=60), order=st.sampled_from([b"", b"II*\x00", b"II*\x00\x08\x00\x00\x00"]))
def test_a_damaged_exif_block_does_not_spoil_the_picture(
    file_format: str, prefix: bytes, junk: bytes, order: bytes
) -> None:
    original = Image.new("RGB", (16, 16), WHITE)
    assert colour(encoded(original, file_format, exif=prefix + order + junk)) == WHITE


@pytest.mark.parametrize("file_format", ["PNG", "TIFF", "BMP", "GIF", "PPM"])
@pytest.mark.parametrize("grey", [0, 77, 255])
def test_grey_becomes_three_equal_channels(file_format: str, grey: int) -> None:
    assert colour(encoded(Image.new("L", (5, 4), grey), file_format)) == (grey,) * 3


@pytest.mark.parametrize("file_format", ["PNG", "TIFF", "BMP", "PPM"])
@pytest.mark.parametrize(("bit", "expected"), [(0, BLACK), (1, WHITE)])
def test_one_bit_is_black_or_white(file_format: str, bit: int, expected: tuple[int, ...]) -> None:
    assert colour(encoded(Image.new("1", (9, 4), bit), file_format)) == expected


def paletted(index: int) -> Image.Image:
    image = Image.new("P", (6, 4), index)
    image.putpalette([*RED, *BLUE, 10, 20, 30])
    return image


@pytest.mark.parametrize("file_format", ["PNG", "GIF", "TIFF", "BMP"])
def test_a_palette_is_looked_up(file_format: str) -> None:
    assert colour(encoded(paletted(2), file_format)) == (10, 20, 30)


@pytest.mark.parametrize("file_format", ["PNG", "GIF"])
def test_a_transparent_palette_entry_is_white_and_the_others_keep_their_colour(file_format: str) -> None:
    image = paletted(0)
    image.putpixel((0, 0), 1)
    result = decode(encoded(image, file_format, transparency=1))
    assert result.getpixel((0, 0)) == WHITE
    assert result.getpixel((1, 0)) == RED


def test_half_transparent_palette_entries_are_laid_on_white() -> None:
    content = encoded(paletted(1), "PNG", transparency=bytes([255, 128, 0]))
    assert colour(content) == (127, 127, 255)


@pytest.mark.parametrize("file_format", ["PNG", "TIFF", "WEBP"])
@pytest.mark.parametrize(("alpha", "expected"), [(255, (40, 80, 120)), (0, WHITE), (128, (147, 167, 187))])
def test_alpha_is_laid_on_white(file_format: str, alpha: int, expected: tuple[int, ...]) -> None:
    options: dict[str, Any] = {"lossless": True, "exact": True} if file_format == "WEBP" else {}
    assert colour(encoded(Image.new("RGBA", (4, 4), (40, 80, 120, alpha)), file_format, **options)) == expected


@pytest.mark.parametrize(("alpha", "expected"), [(255, (60,) * 3), (0, WHITE), (51, (216,) * 3)])
def test_grey_with_alpha_is_laid_on_white(alpha: int, expected: tuple[int, ...]) -> None:
    assert colour(encoded(Image.new("LA", (4, 4), (60, alpha)), "PNG")) == expected


@pytest.mark.parametrize(("mode", "key"), [("RGB", RED), ("L", 0)])
def test_a_transparent_colour_without_an_alpha_channel_is_white(mode: str, key: Any) -> None:
    assert colour(encoded(Image.new(mode, (4, 4), key), "PNG", transparency=key)) == WHITE


@pytest.mark.parametrize(
    ("ink", "expected"), [((255, 0, 0, 0), (0, 255, 255)), ((0, 0, 0, 255), BLACK), ((0, 0, 0, 0), WHITE)]
)
@pytest.mark.parametrize("file_format", ["JPEG", "TIFF"])
def test_printing_inks_become_their_colours(file_format: str, ink: tuple[int, ...], expected: tuple[int, ...]) -> None:
    content = encoded(Image.new("CMYK", (16, 16), ink), file_format)
    assert Image.open(BytesIO(content)).mode == "CMYK"
    assert np.abs(pixels_of(decode(content)).astype(int) - expected).max() <= 3


@pytest.mark.parametrize("file_format", ["PNG", "TIFF", "PPM"])
@pytest.mark.parametrize(("level", "expected"), [(0, 0), (32_768, 128), (25_700, 100), (65_535, 255)])
def test_sixteen_bit_grey_keeps_its_brightness(file_format: str, level: int, expected: int) -> None:
    image = Image.fromarray(np.full((4, 6), level, dtype=np.uint16))
    assert image.mode == "I;16"
    assert colour(encoded(image, file_format)) == (expected,) * 3


def test_big_endian_sixteen_bit_grey_keeps_its_brightness() -> None:
    image = Image.frombytes("I;16B", (6, 4), struct.pack(">24H", *[32_768] * 24))
    assert to_rgb(image).getpixel((0, 0)) == (128, 128, 128)


@pytest.mark.parametrize(
    "mode", ["1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBX", "CMYK", "YCbCr", "HSV", "I", "LAB", "RGBa"]
)
def test_an_image_of_any_mode_becomes_rgb(mode: str) -> None:
    result = to_rgb(Image.new(mode, (3, 2)))
    assert (result.mode, result.size) == ("RGB", (3, 2))


def test_the_memory_of_an_image_is_taken_for_the_next() -> None:
    content = encoded(Image.new("RGB", (640, 480)), "JPEG")
    decode(content)
    before = Image.core.get_stats()["reused_blocks"]  # type: ignore[attr-defined]
    decode(content)
    assert Image.core.get_stats()["reused_blocks"] > before  # type: ignore[attr-defined]
