import struct
import zlib
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageFile

from resnext.imaging import decode as module
from resnext.imaging.decode import FORMATS, ImageError, decode, read

PICTURE = Image.fromarray(np.arange(24 * 16 * 3, dtype=np.uint8).reshape(16, 24, 3))
EVERY_FORMAT = ["JPEG", "PNG", "GIF", "WEBP", "BMP", "TIFF", "PPM"]


def encoded(image: Image.Image, file_format: str, **options: Any) -> bytes:
    buffer = BytesIO()
    image.save(buffer, file_format, **options)
    return buffer.getvalue()


def refusal(action: Callable[[], object]) -> str:
    """Return the message with which an image is refused: one line, not too long to read."""
    with pytest.raises(ImageError) as caught:
        action()
    message = str(caught.value)
    assert message.strip() and message.isprintable() and len(message) < 200
    return message


def png_header(width: int, height: int) -> bytes:
    """Make the first bytes of a PNG of any size: all that is there to be seen before anything is decoded."""

    def chunk(name: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b""))


def test_floating_point_pixels_are_refused() -> None:
    content = encoded(Image.fromarray(np.full((4, 4), 0.5, dtype=np.float32)), "TIFF")
    assert "floating-point" in refusal(lambda: decode(content))


@pytest.mark.parametrize("file_format", EVERY_FORMAT)
def test_half_a_file_is_refused_as_damaged(file_format: str) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (40, 40, 3), dtype=np.uint8)
    content = encoded(Image.fromarray(noise), file_format)
    assert refusal(lambda: decode(content[: len(content) // 2])).startswith(("damaged image: ", "not an image"))


@pytest.mark.parametrize("content", [b"just some words\n" * 20, b"", b"\x00" * 64, b"<svg xmlns='x'/>", b"%PDF-1.7"])
def test_what_is_no_image_is_refused_with_the_formats_there_are(content: bytes) -> None:
    message = refusal(lambda: decode(content))
    assert message.startswith("not an image") and all(name in message for name in FORMATS)


@pytest.mark.parametrize("file_format", ["PCX", "TGA", "ICO"])
def test_formats_outside_the_list_are_refused_even_where_pillow_reads_them(file_format: str) -> None:
    content = encoded(Image.new("RGB", (16, 16)), file_format)
    assert refusal(lambda: decode(content)).startswith("not an image")


MAGIC = [
    b"",
    b"\xff\xd8\xff",
    b"\x89PNG\r\n\x1a\n",
    b"GIF89a",
    b"RIFF\x20\x00\x00\x00WEBPVP8 ",
    b"BM",
    b"II*\x00",
    b"P6 ",
]


@given(magic=st.sampled_from(MAGIC), junk=st.binary(max_size=200))
def test_random_bytes_are_refused_and_never_raise_anything_else(magic: bytes, junk: bytes) -> None:
    try:
        assert decode(magic + junk).mode == "RGB"
    except ImageError:
        assert refusal(lambda: decode(magic + junk))


@pytest.mark.parametrize("file_format", EVERY_FORMAT)
@given(data=st.data())
def test_a_damaged_file_is_decoded_or_refused_and_never_raises_anything_else(
    file_format: str, data: st.DataObject
) -> None:
    content = bytearray(encoded(PICTURE, file_format))
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    damaged = bytes(content[: data.draw(st.integers(0, len(content)))])
    try:
        assert decode(damaged).mode == "RGB"
    except ImageError:
        assert refusal(lambda: decode(damaged))


@pytest.mark.parametrize("size", [(9_434, 9_434), (9_500, 9_500), (60_000, 60_000), (2**31 - 1, 1)])
def test_too_many_pixels_are_refused_before_anything_is_decoded(
    size: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ImageFile.ImageFile, "load", lambda *_: pytest.fail("the image was decoded"))
    assert "more than the 89000000 pixels allowed" in refusal(lambda: decode(png_header(*size)))


def test_the_limit_itself_is_allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    content = encoded(PICTURE, "PNG")
    monkeypatch.setattr(module, "MAX_PIXELS", 24 * 16)
    assert decode(content).size == (24, 16)
    monkeypatch.setattr(module, "MAX_PIXELS", 24 * 16 - 1)
    assert "24x16, more than the 383 pixels" in refusal(lambda: decode(content))


def test_a_file_is_read_whole(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"content")
    assert read(tmp_path / "a.png") == b"content"


def test_a_file_above_the_limit_is_refused_without_reading(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "huge.png"
    with path.open("wb") as file:
        file.truncate(module.MAX_FILE_BYTES + 1)  # sparse: it takes no room on the disk
    monkeypatch.setattr(Path, "read_bytes", lambda _: pytest.fail("the file was read"))
    assert refusal(lambda: read(path)) == "the file has 268435457 bytes, more than the 268435456 allowed"


def test_missing_empty_and_folder_are_each_named(tmp_path: Path) -> None:
    (tmp_path / "empty.jpg").touch()
    assert refusal(lambda: read(tmp_path / "empty.jpg")) == "the file is empty"
    assert refusal(lambda: read(tmp_path / "none.jpg")) == "No such file or directory"
    assert refusal(lambda: read(tmp_path)) == "Is a directory"


def test_a_path_that_no_system_allows_is_refused_like_any_other() -> None:
    assert refusal(lambda: read(Path("a\0b.jpg")))
