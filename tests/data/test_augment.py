import math
from collections.abc import Callable
from itertools import product
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image, ImageOps

from resnext.data.augment import Variant, augmenter, random_pixels_crop, random_resized_crop, random_shift
from resnext.data.colour import random_colours
from resnext.data.erasing import random_erasing
from resnext.data.policy import Canvas, trivial_augment
from resnext.imaging.transform import central_crop
from resnext.spec.preprocessing import Preprocessing
from resnext.spec.recipe import Augmentation

PREPROCESSING = Preprocessing(image_size=8, resize_size=8)
Box = tuple[float, float, float, float]
Crop = Callable[[Image.Image, float, Preprocessing, np.random.Generator], Image.Image]

CROPS: list[Crop] = [random_resized_crop, random_pixels_crop]

sides = st.integers(1, 300)


def noise(width: int, height: int, seed: int = 0) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8))


def pixels(image: Image.Image) -> NDArray[np.uint8]:
    return np.asarray(image)


def varied(image: Image.Image, seed: int, **fields: Any) -> Variant:
    return augmenter(Augmentation(**fields), PREPROCESSING)(image, np.random.default_rng(seed))


def crop_boxes(crop: Crop, image: Image.Image, min_area: float, seeds: range) -> list[Box]:
    """Return the boxes that random crops take, without those for which the centre stood in."""
    boxes: list[Box] = []
    crop_exactly = Image.Image.crop

    def cropped(self: Image.Image, box: tuple[int, int, int, int]) -> Image.Image:
        if self is image and crop is random_pixels_crop:
            boxes.append(box)
        return crop_exactly(self, box)

    def resized(self: Image.Image, size: tuple[int, int], resample: Any, box: Box | None = None) -> Image.Image:
        assert resample == Image.Resampling.BICUBIC
        if box is not None:
            boxes.append(box)
        return Image.new("RGB", size)

    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr(Image.Image, "crop", cropped)
        monkeypatch.setattr(Image.Image, "resize", resized)
        for seed in seeds:
            assert crop(image, min_area, PREPROCESSING, np.random.default_rng(seed)).size == (8, 8)
    return boxes


def is_uniform(values: NDArray[np.float64]) -> bool:
    """Test values against the uniform distribution on [0, 1], after Kolmogorov and Smirnov, at the level of 0.001."""
    expected = (np.arange(len(values)) + 0.5) / len(values)
    return bool(np.abs(np.sort(values) - expected).max() < 1.95 / math.sqrt(len(values)))


@given(width=sides, height=sides, min_area=st.floats(0.01, 1), start=st.integers(0, 10**6))
def test_a_random_crop_stays_within_the_image_and_its_ranges(
    width: int, height: int, min_area: float, start: int
) -> None:
    seeds = range(start, start + 5)
    for left, top, right, bottom in crop_boxes(random_resized_crop, noise(width, height), min_area, seeds):
        assert 0 <= left <= right <= width + 1e-9
        assert 0 <= top <= bottom <= height + 1e-9
        crop_width, crop_height = right - left, bottom - top
        assert min_area - 1e-9 <= crop_width * crop_height / (width * height) <= 1 + 1e-9
        assert 3 / 4 - 1e-9 <= crop_width / crop_height <= 4 / 3 + 1e-9


def aspect_share(aspects: NDArray[np.float64], crop: Crop) -> NDArray[np.float64]:
    """Return the share of crops that should have at most a given aspect."""
    if crop is random_resized_crop:
        return np.asarray(np.log(aspects * 4 / 3) / np.log(16 / 9))
    as_drawn, swapped = aspects - 3 / 4, 4 / 3 - 1 / aspects
    return np.asarray((as_drawn + swapped) / 2 / (4 / 3 - 3 / 4))


@pytest.mark.parametrize("crop", CROPS)
def test_area_aspect_and_place_of_crops_have_their_distributions(crop: Crop) -> None:
    side = 1_000
    boxes = np.array(crop_boxes(crop, Image.new("RGB", (side, side)), 0.08, range(1_500)))
    widths, heights = boxes[:, 2] - boxes[:, 0], boxes[:, 3] - boxes[:, 1]
    areas = widths * heights / side**2
    assert areas.min() < 0.1 and areas.max() > 0.95
    always_fits = areas < 0.7  # even at the extreme aspects, so that none of these were drawn anew
    assert is_uniform((areas[always_fits] - 0.08) / 0.62)
    assert is_uniform(aspect_share(widths / heights, crop)[always_fits])
    for starts, lengths in ((boxes[:, 0], widths), (boxes[:, 1], heights)):
        assert is_uniform(starts[always_fits] / (side - lengths[always_fits]))


def test_a_crop_of_whole_pixels_is_made_as_the_authors_make_it() -> None:
    image = noise(50, 37)
    numbers_of_tries = set()
    for seed in range(300):
        rng = np.random.default_rng(seed)
        for tries in range(1, 11):
            area, aspect = 50 * 37 * rng.uniform(0.08, 1), rng.uniform(3 / 4, 4 / 3)
            width, height = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
            if rng.random() < 0.5:
                width, height = height, width
            if width <= 50 and height <= 37:
                numbers_of_tries.add(tries)
                left, top = rng.integers(0, 50 - width + 1), rng.integers(0, 37 - height + 1)
                expected = Image.fromarray(pixels(image)[top : top + height, left : left + width])
                crop = random_pixels_crop(image, 0.08, PREPROCESSING, np.random.default_rng(seed))
                assert np.array_equal(pixels(crop), pixels(expected.resize((8, 8), Image.Resampling.BICUBIC)))
                break
    assert numbers_of_tries >= {1, 2, 3}


def test_a_crop_of_whole_pixels_reaches_every_place_up_to_the_borders() -> None:
    boxes = crop_boxes(random_pixels_crop, noise(4, 4), 0.25, range(400))
    assert {(box[0], box[1]) for box in boxes if box[2] - box[0] == box[3] - box[1] == 2} == set(
        product(range(3), repeat=2)
    )


@given(width=st.integers(1, 6), height=st.integers(1, 6), seed=st.integers(0, 10**6))
def test_a_crop_of_the_tiniest_image_has_a_pixel(width: int, height: int, seed: int) -> None:
    white = Image.new("RGB", (width, height), "white")
    crop = random_pixels_crop(white, 0.01, PREPROCESSING, np.random.default_rng(seed))
    assert crop.size == (8, 8)
    assert (pixels(crop) == 255).all()


def test_a_random_crop_is_the_box_resized_to_the_networks_input() -> None:
    image = noise(40, 30)
    [box] = crop_boxes(random_resized_crop, image, 0.2, range(7, 8))
    crop = random_resized_crop(image, 0.2, PREPROCESSING, np.random.default_rng(7))
    expected = image.resize((8, 8), Image.Resampling.BICUBIC, box=box)
    assert np.array_equal(pixels(crop), pixels(expected))


@pytest.mark.parametrize("size", [(1, 200), (200, 1)])
@pytest.mark.parametrize("crop", CROPS)
def test_where_no_crop_fits_the_centre_is_taken(size: tuple[int, int], crop: Crop) -> None:
    image = noise(*size)
    taken = crop(image, 1.0, PREPROCESSING, np.random.default_rng(0))
    assert np.array_equal(pixels(taken), pixels(central_crop(image, PREPROCESSING)))


def test_where_no_crop_of_whole_pixels_fits_the_shorter_side_is_resized_to_the_input() -> None:
    image, preprocessing = noise(90, 30), Preprocessing(image_size=8, resize_size=10)
    taken = random_pixels_crop(image, 1.0, preprocessing, np.random.default_rng(0))
    expected = image.resize((24, 8), Image.Resampling.BICUBIC).crop((8, 0, 16, 8))
    assert np.array_equal(pixels(taken), pixels(expected))


@pytest.mark.parametrize(
    ("aspect", "crop"), [("log_uniform", random_resized_crop), ("uniform_swapped", random_pixels_crop)]
)
def test_the_recipe_says_how_crops_are_drawn(aspect: str, crop: Crop) -> None:
    image = noise(40, 30)
    variant = varied(image, 3, crop="random_resized", min_area=0.3, aspect=aspect, flip=False)
    assert variant.image.tobytes() == crop(image, 0.3, PREPROCESSING, np.random.default_rng(3)).tobytes()


def test_a_shift_goes_up_to_its_limit_in_every_direction() -> None:
    seen = [random_shift(2, np.random.default_rng(seed)) for seed in range(2_500)]
    counts = {place: seen.count(place) for place in product(range(-2, 3), range(-2, 3))}
    assert sum(counts.values()) == 2_500
    assert all(abs(count - 100) < 4 * math.sqrt(100 * 24 / 25) for count in counts.values())


def test_a_shift_is_left_to_be_made_after_normalisation() -> None:
    image = noise(8, 8)
    variants = [varied(image, seed, crop="shift", max_shift=3, flip=False) for seed in range(100)]
    assert {variant.image.tobytes() for variant in variants} == {image.tobytes()}
    assert {variant.shift for variant in variants} > {(-3, 3), (0, 0)}


@pytest.mark.parametrize("fields", [{"crop": "none"}, {"crop": "random_resized"}, {"crop": "shift", "max_shift": 0}])
def test_there_is_no_shift_where_none_is_asked_for(fields: dict[str, Any]) -> None:
    assert varied(noise(8, 8), 0, flip=False, **fields).shift is None


@pytest.mark.parametrize("change", ["brightness", "contrast", "saturation", "lighting"])
def test_colours_are_left_to_be_changed_as_numbers(change: str) -> None:
    image = noise(8, 8)
    variant = varied(image, 0, crop="none", flip=False, **{change: 0.4})
    assert variant.image.tobytes() == image.tobytes()
    assert variant.colour is not None
    assert variant.colour.shape == (3, 4)
    assert variant.colour.dtype.name == "float32"


def test_what_is_not_varied_draws_nothing() -> None:
    rng = np.random.default_rng(0)
    before = rng.bit_generator.state
    variant = augmenter(Augmentation(crop="none", flip=False), PREPROCESSING)(noise(9, 7), rng)
    assert rng.bit_generator.state == before
    assert (variant.colour, variant.shift, variant.erased) == (None, None, None)


@pytest.mark.parametrize("seed", range(8))
def test_changes_are_drawn_in_the_order_that_is_documented(seed: int) -> None:
    image, rng = noise(8, 8), np.random.default_rng(seed)
    augmentation = Augmentation(
        crop="shift",
        max_rotation_degrees=15,
        policy="trivial",
        contrast=0.4,
        saturation=0.3,
        lighting=0.1,
        flip=True,
        erasing=0.5,
    )
    turned = image.rotate(rng.uniform(-15, 15), Image.Resampling.BICUBIC)
    changed = trivial_augment(turned, Canvas.of(PREPROCESSING), rng)
    colour = random_colours(augmentation, changed, rng)
    expected = ImageOps.mirror(changed) if rng.random() < 0.5 else changed
    variant = augmenter(augmentation, PREPROCESSING)(image, np.random.default_rng(seed))
    assert variant.image.tobytes() == expected.tobytes()
    assert colour is not None and variant.colour is not None and np.array_equal(variant.colour, colour)
    assert variant.shift == random_shift(4, rng)
    assert variant.erased == random_erasing(0.5, 8, rng)


@pytest.mark.parametrize("crop", ["none", "shift"])
def test_about_half_of_the_images_are_flipped_where_flips_are_allowed(crop: str) -> None:
    image = noise(8, 8)
    both = {image.tobytes(): 0, ImageOps.mirror(image).tobytes(): 1}
    flips = [both[varied(image, seed, crop=crop, flip=True).image.tobytes()] for seed in range(400)]
    assert abs(sum(flips) / 400 - 0.5) < 4 * math.sqrt(0.25 / 400)


def test_no_image_is_flipped_where_flips_are_not_allowed() -> None:
    image = noise(8, 8)
    seen = {varied(image, seed, crop="none", flip=False).image.tobytes() for seed in range(40)}
    assert seen == {image.tobytes()}


@given(crop=st.sampled_from(["random_resized", "shift", "none"]), width=sides, height=sides, seed=st.integers(0, 999))
def test_the_same_generator_gives_the_same_variant_of_the_networks_size(
    crop: str, width: int, height: int, seed: int
) -> None:
    image = noise(width, height)
    fields = {"crop": crop, "flip": True, "max_rotation_degrees": 20, "contrast": 0.4, "lighting": 0.1}
    first, second = (varied(image, seed, **fields) for _ in range(2))
    assert (first.image.mode, first.image.size) == ("RGB", (8, 8))
    assert (first.image.tobytes(), first.shift) == (second.image.tobytes(), second.shift)
    assert first.colour is not None and second.colour is not None and np.array_equal(first.colour, second.colour)


@pytest.mark.parametrize("aspect", ["log_uniform", "uniform_swapped"])
def test_other_generators_give_other_images(aspect: str) -> None:
    fields = {"crop": "random_resized", "aspect": aspect, "flip": False}
    assert len({varied(noise(30, 30), seed, **fields).image.tobytes() for seed in range(30)}) > 15


def test_an_image_is_turned_by_up_to_its_limit_both_ways_and_only_where_asked() -> None:
    angles: list[float] = []
    rotate = Image.Image.rotate

    def recorded(self: Image.Image, angle: float, resample: Image.Resampling) -> Image.Image:
        assert resample == Image.Resampling.BICUBIC
        angles.append(angle)
        return rotate(self, angle, resample)

    image = noise(8, 8)
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr(Image.Image, "rotate", recorded)
        for limit in (0, 15):
            fields = {"crop": "none", "flip": False, "max_rotation_degrees": limit}
            results = [varied(image, seed, **fields).image.tobytes() for seed in range(200)]
            assert (len(set(results)) > 100) if limit else (set(results) == {image.tobytes()})
    assert len(angles) == 200
    assert -15 <= min(angles) < -14 and 14 < max(angles) <= 15


def test_without_a_crop_the_image_is_what_evaluation_sees() -> None:
    image = noise(20, 30)
    seen = varied(image, 0, crop="none", flip=False).image
    assert np.array_equal(pixels(seen), pixels(central_crop(image, PREPROCESSING)))


@pytest.mark.parametrize("crop", ["random_resized", "shift", "none"])
def test_the_image_handed_in_is_left_as_it_was(crop: str) -> None:
    image = noise(30, 20)
    before = image.tobytes()
    varied(image, 0, crop=crop, flip=True, brightness=0.4, contrast=0.4, saturation=0.4, lighting=0.1)
    assert image.tobytes() == before
