import math
from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image, ImageOps

from resnext.data.augment import augmenter, random_resized_crop, random_shift
from resnext.imaging.transform import central_crop
from resnext.spec.preprocessing import Preprocessing
from resnext.spec.recipe import Augmentation

PREPROCESSING = Preprocessing(image_size=8, resize_size=8)
Box = tuple[float, float, float, float]

sides = st.integers(1, 300)


def noise(width: int, height: int, seed: int = 0) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8))


def pixels(image: Image.Image) -> NDArray[np.uint8]:
    return np.asarray(image)


def crop_boxes(image: Image.Image, min_area: float, seeds: range) -> list[Box]:
    """Return the boxes that random crops take, without those for which the central crop stood in."""
    boxes: list[Box] = []
    resize = Image.Image.resize

    def recorded(
        self: Image.Image, size: tuple[int, int], resample: Image.Resampling, box: Box | None = None
    ) -> Image.Image:
        if box is not None:
            boxes.append(box)
        return resize(self, size, resample, box=box)

    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr(Image.Image, "resize", recorded)
        for seed in seeds:
            crop = random_resized_crop(image, min_area, PREPROCESSING, np.random.default_rng(seed))
            assert crop.size == (8, 8)
    return boxes


@given(width=sides, height=sides, min_area=st.floats(0.01, 1), start=st.integers(0, 10**6))
def test_a_random_crop_stays_within_the_image_and_its_ranges(
    width: int, height: int, min_area: float, start: int
) -> None:
    for left, top, right, bottom in crop_boxes(noise(width, height), min_area, range(start, start + 5)):
        assert 0 <= left <= right <= width + 1e-9
        assert 0 <= top <= bottom <= height + 1e-9
        crop_width, crop_height = right - left, bottom - top
        assert min_area - 1e-9 <= crop_width * crop_height / (width * height) <= 1 + 1e-9
        assert 3 / 4 - 1e-9 <= crop_width / crop_height <= 4 / 3 + 1e-9


def test_random_crops_fill_their_ranges() -> None:
    boxes = crop_boxes(noise(400, 400), 0.1, range(400))
    areas = np.array([(right - left) * (bottom - top) for left, top, right, bottom in boxes]) / 400**2
    aspects = np.array([(right - left) / (bottom - top) for left, top, right, bottom in boxes])
    assert areas.min() < 0.15 and areas.max() > 0.9
    assert aspects.min() < 0.77 and aspects.max() > 1.3
    assert abs(np.log(aspects).mean()) < 0.03
    assert {round(left / 40) for left, *_ in boxes} >= set(range(6))


def test_a_random_crop_is_the_box_resized_to_the_networks_input() -> None:
    image = noise(40, 30)
    [box] = crop_boxes(image, 0.2, range(7, 8))
    crop = random_resized_crop(image, 0.2, PREPROCESSING, np.random.default_rng(7))
    expected = image.resize((8, 8), Image.Resampling.BICUBIC, box=box)
    assert np.array_equal(pixels(crop), pixels(expected))


@pytest.mark.parametrize("size", [(1, 200), (200, 1)])
def test_where_no_crop_fits_the_centre_is_taken(size: tuple[int, int]) -> None:
    image = noise(*size)
    crop = random_resized_crop(image, 1.0, PREPROCESSING, np.random.default_rng(0))
    assert np.array_equal(pixels(crop), pixels(central_crop(image, PREPROCESSING)))


def shifted(image: Image.Image, right: int, down: int) -> NDArray[np.uint8]:
    """Move an image by whole pixels over a black ground."""
    result = np.zeros_like(pixels(image))
    for y, x in product(range(image.height), range(image.width)):
        if 0 <= y + down < image.height and 0 <= x + right < image.width:
            result[y + down, x + right] = pixels(image)[y, x]
    return result


def test_a_shift_moves_the_image_by_up_to_its_limit_in_every_direction_over_black() -> None:
    image = noise(6, 5)
    image.paste((1, 2, 3), (0, 0, 1, 1))
    of = {shifted(image, right, down).tobytes(): (right, down) for right, down in product(range(-2, 3), repeat=2)}
    seen = [of[random_shift(image, 2, np.random.default_rng(seed)).tobytes()] for seed in range(400)]
    assert len(of) == 25
    assert set(seen) == set(product(range(-2, 3), repeat=2))


def test_a_shift_may_exceed_the_image() -> None:
    results = [random_shift(noise(3, 3), 100, np.random.default_rng(seed)) for seed in range(20)]
    assert all(result.size == (3, 3) for result in results)
    assert any(not pixels(result).any() for result in results)


def test_a_shift_of_nothing_changes_nothing() -> None:
    image = noise(6, 5)
    assert np.array_equal(pixels(random_shift(image, 0, np.random.default_rng(0))), pixels(image))


@pytest.mark.parametrize("crop", ["none", "shift"])
def test_about_half_of_the_images_are_flipped_where_flips_are_allowed(crop: str) -> None:
    image = noise(8, 8)
    augment = augmenter(Augmentation(crop=crop, flip=True, max_shift=0), PREPROCESSING)
    both = {image.tobytes(): 0, ImageOps.mirror(image).tobytes(): 1}
    flips = [both[augment(image, np.random.default_rng(seed)).tobytes()] for seed in range(400)]
    assert abs(sum(flips) / 400 - 0.5) < 4 * math.sqrt(0.25 / 400)


def test_no_image_is_flipped_where_flips_are_not_allowed() -> None:
    image = noise(8, 8)
    augment = augmenter(Augmentation(crop="none", flip=False), PREPROCESSING)
    assert all(augment(image, np.random.default_rng(seed)).tobytes() == image.tobytes() for seed in range(40))


@given(crop=st.sampled_from(["random_resized", "shift", "none"]), width=sides, height=sides, seed=st.integers(0, 999))
def test_the_same_generator_gives_the_same_image_of_the_networks_size(
    crop: str, width: int, height: int, seed: int
) -> None:
    augment = augmenter(Augmentation(crop=crop, flip=True, max_rotation_degrees=20), PREPROCESSING)
    image = noise(width, height)
    first, second = (augment(image, np.random.default_rng(seed)) for _ in range(2))
    assert (first.mode, first.size) == ("RGB", (8, 8))
    assert first.tobytes() == second.tobytes()


@pytest.mark.parametrize("crop", ["random_resized", "shift"])
def test_other_generators_give_other_images(crop: str) -> None:
    augment = augmenter(Augmentation(crop=crop, flip=False), PREPROCESSING)
    assert len({augment(noise(30, 30), np.random.default_rng(seed)).tobytes() for seed in range(30)}) > 15


def test_an_image_is_turned_by_up_to_its_limit_both_ways_and_only_where_asked() -> None:
    angles: list[float] = []
    rotate = Image.Image.rotate

    def recorded(self: Image.Image, angle: float, resample: Image.Resampling) -> Image.Image:
        assert resample == Image.Resampling.BICUBIC
        angles.append(angle)
        return rotate(self, angle, resample)

    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr(Image.Image, "rotate", recorded)
        for limit in (0, 15):
            augment = augmenter(Augmentation(crop="none", flip=False, max_rotation_degrees=limit), PREPROCESSING)
            results = [augment(noise(8, 8), np.random.default_rng(seed)).tobytes() for seed in range(200)]
            assert (len(set(results)) > 100) if limit else (set(results) == {noise(8, 8).tobytes()})
    assert len(angles) == 200
    assert -15 <= min(angles) < -14 and 14 < max(angles) <= 15


def test_without_a_crop_the_image_is_what_evaluation_sees() -> None:
    image = noise(20, 30)
    augment = augmenter(Augmentation(crop="none", flip=False), PREPROCESSING)
    assert np.array_equal(pixels(augment(image, np.random.default_rng(0))), pixels(central_crop(image, PREPROCESSING)))


def test_the_image_handed_in_is_left_as_it_was() -> None:
    image = noise(30, 20)
    before = image.tobytes()
    for crop in ("random_resized", "shift", "none"):
        augmenter(Augmentation(crop=crop, flip=True), PREPROCESSING)(image, np.random.default_rng(0))
    assert image.tobytes() == before
