"""From untrusted bytes to an RGB image, within limits that are checked before anything is decoded."""

import os
from contextlib import suppress
from io import BytesIO
from pathlib import Path
from stat import S_ISCHR, S_ISFIFO, S_ISSOCK
from typing import Literal

import numpy as np
from PIL import Image, UnidentifiedImageError

FORMATS = ("BMP", "GIF", "JPEG", "PNG", "PPM", "TIFF", "WEBP")
SUFFIXES = frozenset({".bmp", ".gif", ".jpeg", ".jpg", ".jfif", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp"})
MAX_FILE_BYTES = 256 * 2**20
MAX_PIXELS = 89_000_000

ORIENTATION_TAG = 0x0112
TRANSPOSES = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_BACKGROUND = (255, 255, 255, 255)
_NUM_KEPT_BLOCKS = 8  # of at most 16 MiB

# Pillow gives the memory of an image back when it is done with it. In threads, paging that of a large photograph in
# anew took a quarter of the time of loading it; so some is kept, unless the user has said how much.
if "PILLOW_BLOCKS_MAX" not in os.environ:
    with suppress(AttributeError):  # Pillow promises the variable, not the function
        Image.core.set_blocks_max(_NUM_KEPT_BLOCKS)  # type: ignore[attr-defined]

Fault = Literal["unreadable", "empty", "not_an_image", "truncated", "corrupt", "giant", "unsupported"]


class ImageError(ValueError):
    """An image that cannot be used; the message says why, and `fault` to which kind the reason belongs."""

    def __init__(self, message: str, fault: Fault = "corrupt") -> None:
        super().__init__(message)
        self.fault: Fault = fault


def read(path: Path) -> bytes:
    """Read an image file. Raises `ImageError` where it is missing, unreadable, empty or above `MAX_FILE_BYTES`."""
    try:
        status = path.stat()
        if S_ISCHR(status.st_mode) or S_ISFIFO(status.st_mode) or S_ISSOCK(status.st_mode):
            raise ImageError("a pipe or a device, not a file", "unreadable")
        if status.st_size > MAX_FILE_BYTES:
            message = f"the file has {status.st_size} bytes, more than the {MAX_FILE_BYTES} allowed"
            raise ImageError(message, "giant")
        content = path.read_bytes()
    except ImageError:
        raise
    except (OSError, ValueError) as error:  # ValueError: a null character in the path
        raise ImageError(getattr(error, "strerror", None) or str(error), "unreadable") from None
    if not content:
        raise ImageError("the file is empty", "empty")
    return content


def decode(content: bytes) -> Image.Image:
    """Decode an encoded image (see `FORMATS`) to RGB, upright, its first frame where it has several.

    Raises `ImageError` where the bytes are no image, are damaged, or hold more than `MAX_PIXELS`; see `to_rgb`.
    """
    with opened(content) as image:
        return to_rgb(image)


def opened(content: bytes) -> Image.Image:
    """Open an encoded image (see `FORMATS`) and read its header; `to_rgb` decodes it.

    Raises `ImageError` where the bytes are no image, or hold no pixel or more than `MAX_PIXELS`.
    """
    try:
        image = Image.open(BytesIO(content), formats=FORMATS)
        _check_size(image)
    except ImageError:
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise ImageError(f"the image has more than the {MAX_PIXELS} pixels allowed", "giant") from None
    except UnidentifiedImageError:
        message = f"not an image in one of the formats {', '.join(FORMATS)}"
        raise ImageError(message, "not_an_image") from None
    except Exception as error:  # decoders of damaged files raise almost anything
        raise _damaged(error) from None
    return image


def to_rgb(image: Image.Image) -> Image.Image:
    """Load an opened image of any mode and convert it to RGB.

    EXIF orientation is applied; transparency is laid on white; 16-bit grey is scaled to 8 bits.
    Raises `ImageError` where the image is damaged, has no pixels or too many, or has floating-point pixels.
    """
    _check_size(image)
    try:
        image.load()
        return _as_rgb(turned(image, orientation(image)))
    except ImageError:
        raise
    except Exception as error:
        raise _damaged(error) from None


def orientation(image: Image.Image) -> int:
    """Return the orientation that the EXIF block of an opened image says, 1 where it says none."""
    try:
        return int(image.getexif().get(ORIENTATION_TAG, 1))
    except Exception:  # a damaged EXIF block does not make the picture unusable
        return 1


def turned(image: Image.Image, exif_orientation: int) -> Image.Image:
    """Return an image upright that has an orientation; unchanged where EXIF knows none of this number."""
    return image.transpose(TRANSPOSES[exif_orientation]) if exif_orientation in TRANSPOSES else image


def _damaged(error: Exception) -> ImageError:
    is_cut = "truncated" in str(error).lower()  # the one word that Pillow's decoders have in common
    return ImageError(f"damaged image: {error}", "truncated" if is_cut else "corrupt")


def _as_rgb(image: Image.Image) -> Image.Image:
    if image.mode == "RGB" and "transparency" not in image.info:
        return image
    if image.mode == "F":
        message = "floating-point pixels have no agreed range; save the image with 8 or 16 bits"
        raise ImageError(message, "unsupported")
    if image.mode.startswith("I"):
        return Image.fromarray((np.asarray(image).clip(0, 2**16 - 1) >> 8).astype(np.uint8)).convert("RGB")
    if image.has_transparency_data:
        image = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", image.size, _BACKGROUND), image).convert("RGB")
    return image.convert("RGB")


def _check_size(image: Image.Image) -> None:
    if 0 in image.size:
        raise ImageError(f"the image is {image.width}x{image.height}, without a pixel")
    if image.width * image.height > MAX_PIXELS:
        message = f"the image is {image.width}x{image.height}, more than the {MAX_PIXELS} pixels allowed"
        raise ImageError(message, "giant")
