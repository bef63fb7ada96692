import numpy as np
from PIL import Image

from resnext.imaging.fingerprint import fingerprint


def noisy(seed: int, width: int = 40, height: int = 30) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8))


def test_equal_images_have_equal_fingerprints_and_one_changed_pixel_tells() -> None:
    image, changed = noisy(0), noisy(0)
    assert fingerprint(image) == fingerprint(changed)
    changed.putpixel((3, 3), (1, 2, 3))
    assert fingerprint(image).pixels != fingerprint(changed).pixels


def test_the_same_bytes_in_another_shape_are_another_image() -> None:
    image = Image.new("RGB", (40, 30))
    assert fingerprint(image).pixels != fingerprint(Image.new("RGB", (30, 40))).pixels


def test_the_bits_say_where_an_image_grows_lighter() -> None:
    slope = np.tile(np.linspace(0, 255, 90).astype(np.uint8), (80, 1))
    assert fingerprint(Image.fromarray(slope).convert("RGB")).bits == b"\xff" * 8
    assert fingerprint(Image.fromarray(slope[:, ::-1].copy()).convert("RGB")).bits == b"\0" * 8


def test_noise_in_an_even_area_sets_no_bits() -> None:
    pixels = 120 + np.random.default_rng(0).integers(0, 4, (64, 64, 3), dtype=np.uint8)
    assert fingerprint(Image.fromarray(pixels)).bits == b"\0" * 8
