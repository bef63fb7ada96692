from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from torchvision.transforms import InterpolationMode
from torchvision.transforms import functional as F

from resnext.data import policy
from resnext.data.policy import OPERATIONS, Canvas, Operation, trivial_augment
from resnext.spec.preprocessing import Preprocessing

FILL = (10, 120, 200)
CANVAS = Canvas(Image.Resampling.BICUBIC, FILL)
BICUBIC = {"interpolation": InterpolationMode.BICUBIC, "fill": list(FILL)}
WITHOUT_STRENGTH = {policy.autocontrast, policy.equalise}


def noise(width: int = 40, height: int = 36, seed: int = 0) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8))


def moved(image: Image.Image, **fields: Any) -> Image.Image:
    still = {"angle": 0.0, "translate": [0, 0], "scale": 1.0, "shear": [0.0, 0.0], "center": [0, 0]}
    result: Image.Image = F.affine(image, **{**still, **BICUBIC, **fields})
    return result


def degrees(slope: float) -> float:
    return float(np.degrees(np.arctan(slope)))


# What torchvision makes of an image, at the strength of its wide ranges.
TORCHVISION: dict[str, Callable[[Image.Image, float], Image.Image]] = {
    "identity": lambda image, _: image,
    "shear_x": lambda image, strength: moved(image, shear=[degrees(0.99 * strength), 0.0]),
    "shear_y": lambda image, strength: moved(image, shear=[0.0, degrees(0.99 * strength)]),
    "translate_x": lambda image, strength: moved(image, translate=[int(32 * strength), 0]),
    "translate_y": lambda image, strength: moved(image, translate=[0, int(32 * strength)]),
    "rotate": lambda image, strength: F.rotate(image, 135 * strength, **BICUBIC),
    "brightness": lambda image, strength: F.adjust_brightness(image, 1 + 0.99 * strength),
    "colour": lambda image, strength: F.adjust_saturation(image, 1 + 0.99 * strength),
    "contrast": lambda image, strength: F.adjust_contrast(image, 1 + 0.99 * strength),
    "sharpness": lambda image, strength: F.adjust_sharpness(image, 1 + 0.99 * strength),
    "posterise": lambda image, strength: F.posterize(image, 8 - round(6 * abs(strength))),
    "autocontrast": lambda image, _: F.autocontrast(image),
    "equalise": lambda image, _: F.equalize(image),
}


@pytest.mark.parametrize("name", TORCHVISION)
@pytest.mark.parametrize("strength", [-1.0, -0.3, 0.5, 29 / 30])
def test_a_change_is_the_one_of_torchvision(name: str, strength: float) -> None:
    actual = np.asarray(getattr(policy, name)(noise(), strength, CANVAS)).astype(int)
    expected = np.asarray(TORCHVISION[name](noise(), strength)).astype(int)
    is_moved = name.startswith(("shear", "translate"))
    # A matrix that went through an angle and back differs in the last bit, and so may one pixel in a thousand.
    differing = np.abs(actual - expected).max(axis=-1) > (1 if is_moved else 0)
    assert differing.mean() <= (0.002 if is_moved else 0)


@pytest.mark.parametrize(("strength", "threshold"), [(0.0, 256), (0.5, 128), (-0.5, 128), (1.0, 0)])
def test_solarising_inverts_from_a_threshold_on(strength: float, threshold: int) -> None:
    values = np.asarray(noise())
    expected = np.where(values < threshold, values, 255 - values)
    assert np.array_equal(np.asarray(policy.solarise(noise(), strength, CANVAS)), expected)


def test_a_change_of_no_strength_leaves_the_image_as_it_is() -> None:
    image = noise()
    for operation in set(OPERATIONS) - WITHOUT_STRENGTH:
        assert operation(image, 0.0, CANVAS).tobytes() == image.tobytes(), operation


@given(width=st.integers(1, 40), height=st.integers(1, 40), strength=st.floats(-1, 1))
def test_every_change_keeps_size_and_mode_and_the_image_handed_in(width: int, height: int, strength: float) -> None:
    image = noise(width, height)
    before = image.tobytes()
    for operation in OPERATIONS:
        changed = operation(image, strength, CANVAS)
        assert (changed.size, changed.mode) == (image.size, "RGB")
    assert image.tobytes() == before


def test_small_images_are_moved_out_of_sight_at_most() -> None:
    image = noise(8, 8)
    for translate in (policy.translate_x, policy.translate_y):
        assert np.array_equal(np.asarray(translate(image, 1.0, CANVAS)), np.full((8, 8, 3), FILL, np.uint8))
        assert (np.asarray(translate(image, 0.5, CANVAS)) != FILL).any(axis=-1).sum() == 32


def test_what_comes_in_from_outside_is_the_mean_colour() -> None:
    preprocessing = Preprocessing(image_size=8, resize_size=8, mean=(0.5, 0.25, 1.0), interpolation="bilinear")
    assert Canvas.of(preprocessing) == Canvas(Image.Resampling.BILINEAR, (128, 64, 255))


def test_changes_strengths_and_signs_are_drawn_equally_often(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[tuple[int, float]] = []

    def recorded(number: int) -> Operation:
        def operation(image: Image.Image, strength: float, _: Canvas) -> Image.Image:
            drawn.append((number, strength))
            return image

        return operation

    monkeypatch.setattr(policy, "OPERATIONS", tuple(recorded(number) for number in range(14)))
    rng, image = np.random.default_rng(0), noise()
    for _ in range(14_000):
        trivial_augment(image, CANVAS, rng)
    numbers = Counter(number for number, _ in drawn)
    strengths = Counter(round(30 * strength) for _, strength in drawn)
    assert len(OPERATIONS) == len(numbers) == 14
    assert all(abs(count - 1_000) < 4 * np.sqrt(1_000) for count in numbers.values())
    assert set(strengths) == set(range(-30, 31))
    assert all(abs(count - 14_000 / 62) < 5 * np.sqrt(226) for place, count in strengths.items() if place)
