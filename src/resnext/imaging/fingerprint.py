"""What tells an image from others: a digest of its pixels, and a small grey picture by which copies are known again."""

import hashlib
from dataclasses import dataclass

import numpy as np
from PIL import Image

GREY_SIDE = 32

_BITS_SHAPE = (9, 8)  # width, height: eight differences in each of eight rows
_MIN_DIFFERENCE = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Fingerprint:
    """A digest of the pixels; `bits`, 8 bytes, and `grey`, 32x32 bytes, which change little when the image is copied.

    `bits` is a difference hash: whether the image grows lighter from left to right, in 8x8 places.
    """

    pixels: bytes
    bits: bytes
    grey: bytes


def fingerprint(image: Image.Image) -> Fingerprint:
    """Return the fingerprint of an RGB image.

    Noise must not decide on the bits of even areas: "lighter" means by more than three levels of grey.
    """
    pixels = hashlib.blake2b(f"{image.width}x{image.height}:".encode(), digest_size=16)
    pixels.update(image.tobytes())
    grey = image.convert("L").resize((GREY_SIDE, GREY_SIDE), Image.Resampling.BOX)
    cells = np.asarray(grey.resize(_BITS_SHAPE, Image.Resampling.BOX)).astype(np.int16)
    bits = np.packbits(cells[:, 1:] - cells[:, :-1] > _MIN_DIFFERENCE)
    return Fingerprint(pixels=pixels.digest(), bits=bits.tobytes(), grey=grey.tobytes())
