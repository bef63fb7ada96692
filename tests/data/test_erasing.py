import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from resnext.data.erasing import NOTHING, random_erasing


@given(size=st.integers(1, 224), seed=st.integers(0, 10**6))
def test_what_is_erased_lies_within_the_image_and_its_ranges(size: int, seed: int) -> None:
    left, top, width, height = random_erasing(1.0, size, np.random.default_rng(seed))
    assert left >= 0 and left + width <= size
    assert top >= 0 and top + height <= size
    if size >= 64 and width:
        assert 0.018 <= width * height / size**2 <= 0.34
        assert 0.28 <= width / height <= 3.5


def test_as_many_images_are_erased_as_the_recipe_says() -> None:
    for probability in (0.1, 0.5):
        boxes = [random_erasing(probability, 32, np.random.default_rng(seed)) for seed in range(2_000)]
        share = sum(box != NOTHING for box in boxes) / 2_000
        assert abs(share - probability) < 4 * np.sqrt(probability * (1 - probability) / 2_000)


def test_the_area_is_spread_over_its_whole_range() -> None:
    boxes = [random_erasing(1.0, 200, np.random.default_rng(seed)) for seed in range(2_000)]
    areas = np.array([width * height / 200**2 for _, _, width, height in boxes])
    assert NOTHING not in boxes
    assert areas.min() < 0.03 and areas.max() > 0.32
    assert abs(areas.mean() - 0.175) < 0.01
