import math
from itertools import permutations
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from resnext.data import colour
from resnext.data.colour import EIGENVALUES, EIGENVECTORS, Change, jitter, lighting, mean_colour, random_colours
from resnext.spec.recipe import Augmentation

Pixels = NDArray[np.float64]
Changes = tuple[tuple[Change, float], ...]

CHANGES: tuple[Change, ...] = ("brightness", "contrast", "saturation")
ORDERS = [order for length in range(1, 4) for order in permutations(CHANGES, length)]

scales = st.floats(0, 2)


def picture(seed: int = 0) -> Image.Image:
    """Return a picture of a colour cast, so that the channels have means of their own."""
    values = np.random.default_rng(seed).integers(0, 256, (5, 7, 3)) * [0.9, 0.5, 0.2]
    return Image.fromarray(values.astype(np.uint8))


def numbers(image: Image.Image) -> Pixels:
    return np.asarray(image) / 255


def mapped(pixels: Pixels, affine: NDArray[Any]) -> Pixels:
    return np.asarray(pixels @ affine[:3, :3].T + affine[:3, 3])


def grey(pixels: Pixels) -> Pixels:
    """Return the grey of every pixel, in three channels."""
    one = 0.299 * pixels[..., 0] + 0.587 * pixels[..., 1] + 0.114 * pixels[..., 2]
    return np.stack([one] * 3, axis=-1)


def slowly_jittered(pixels: Pixels, changes: Changes) -> Pixels:
    """Make one change after another of the pixels themselves."""
    for change, scale in changes:
        match change:
            case "brightness":
                other = np.zeros_like(pixels)
            case "contrast":
                other = np.full_like(pixels, grey(pixels).mean())
            case "saturation":
                other = grey(pixels)
        pixels = scale * pixels + (1 - scale) * other
    return pixels


def one_of(seed: int, image: Image.Image, **strengths: float) -> NDArray[np.float32]:
    drawn = random_colours(Augmentation(**strengths), image, np.random.default_rng(seed))
    assert drawn is not None
    return drawn


@pytest.mark.parametrize("order", ORDERS, ids=" ".join)
@given(drawn=st.tuples(scales, scales, scales), seed=st.integers(0, 999))
def test_one_map_does_what_jitter_does_step_by_step_in_any_order(
    order: tuple[Change, ...], drawn: tuple[float, ...], seed: int
) -> None:
    changes: Changes = tuple(zip(order, drawn, strict=False))
    image = picture(seed)
    actual = mapped(numbers(image), jitter(changes, mean_colour(image)))
    assert np.abs(actual - slowly_jittered(numbers(image), changes)).max() < 1e-12


def test_the_order_of_changes_matters() -> None:
    mean = mean_colour(picture())
    maps = {jitter([(change, 1.4) for change in order], mean).tobytes() for order in permutations(CHANGES)}
    assert len(maps) > 1


def test_nothing_is_clamped() -> None:
    white, black = np.ones((1, 3)), np.zeros((1, 3))
    assert mapped(white, jitter([("brightness", 1.4)], np.ones(3))) == pytest.approx(1.4)
    assert mapped(black, jitter([("contrast", 1.4)], np.full(3, 0.5))) == pytest.approx(-0.2)
    back = jitter([("brightness", 1.4), ("brightness", 1 / 1.4)], np.ones(3))
    assert mapped(white, back) == pytest.approx(1.0)


def test_the_mean_colour_is_that_of_all_pixels_of_one() -> None:
    assert np.abs(mean_colour(picture()) - numbers(picture()).mean(axis=(0, 1))).max() < 1e-12


@pytest.mark.parametrize("change", CHANGES)
def test_scales_are_uniform_in_1_plus_or_minus_the_strength(change: Change) -> None:
    image = picture()
    reference = jitter([(change, 2.0)], mean_colour(image))[:3] - np.eye(4)[:3]  # how the map moves with the scale
    drawn = np.array([one_of(seed, image, **{change: 0.4}) - np.eye(4)[:3] for seed in range(1_000)])
    found = (drawn * reference).sum(axis=(1, 2)) / (reference**2).sum()
    assert np.abs(drawn - found[:, None, None] * reference).max() < 1e-6
    assert np.abs(np.sort(found) / 0.8 + 0.5 - (np.arange(1_000) + 0.5) / 1_000).max() < 1.95 / math.sqrt(1_000)


def test_every_order_is_as_likely_as_another(monkeypatch: pytest.MonkeyPatch) -> None:
    orders: list[tuple[Change, ...]] = []

    def recorded(changes: list[tuple[Change, float]], mean: Pixels) -> Pixels:
        orders.append(tuple(change for change, _ in changes))
        return jitter(changes, mean)

    monkeypatch.setattr(colour, "jitter", recorded)
    for seed in range(1_200):
        one_of(seed, picture(), brightness=0.4, contrast=0.4, saturation=0.4)
    counts = [orders.count(order) for order in permutations(CHANGES)]
    assert sum(counts) == 1_200
    assert all(abs(count - 200) < 4 * math.sqrt(200 * 5 / 6) for count in counts)


@pytest.mark.parametrize("strength", [0.1, 0.5])
def test_lighting_adds_each_principal_component_with_its_spread(strength: float) -> None:
    maps = np.array([one_of(seed, picture(), lighting=strength) for seed in range(2_000)])
    assert (maps[:, :, :3] == np.eye(3)).all()
    amounts = np.linalg.solve(np.array(EIGENVECTORS) * EIGENVALUES, maps[:, :, 3].T.astype(float))
    assert np.abs(amounts.mean(axis=1)).max() < 4 * strength / math.sqrt(2_000)
    assert np.abs(amounts.std(axis=1) / strength - 1).max() < 4 / math.sqrt(2 * 2_000)
    assert np.abs(np.corrcoef(amounts) - np.eye(3)).max() < 4 / math.sqrt(2_000)


def test_lighting_has_the_components_of_the_authors_code() -> None:
    first = lighting([1.0, 0.0, 0.0])[:3, 3]
    assert first == pytest.approx([-0.5675 * 0.2175, -0.5808 * 0.2175, -0.5836 * 0.2175], rel=1e-12)
    vectors = np.array(EIGENVECTORS)
    assert np.abs(vectors.T @ vectors - np.eye(3)).max() < 1e-3
    assert EIGENVALUES == (0.2175, 0.0188, 0.0045)


@pytest.mark.parametrize("seed", range(5))
def test_draws_are_made_in_the_order_that_is_documented_lighting_last(seed: int) -> None:
    image, rng = picture(), np.random.default_rng(seed)
    strengths: dict[Change, float] = {"brightness": 0.4, "saturation": 0.2}
    order = [list(strengths)[place] for place in rng.permutation(2)]
    changes: Changes = tuple((change, 1 + rng.uniform(-strengths[change], strengths[change])) for change in order)
    added = np.array(EIGENVECTORS) @ (np.array(EIGENVALUES) * rng.normal(0, 0.1, 3))
    expected = slowly_jittered(numbers(image), changes) + added
    actual = mapped(numbers(image), one_of(seed, image, **strengths, lighting=0.1))
    assert np.abs(actual - expected).max() < 1e-6


def test_without_strengths_there_is_no_map_and_no_draw() -> None:
    rng = np.random.default_rng(0)
    before = rng.bit_generator.state
    assert random_colours(Augmentation(), picture(), rng) is None
    assert rng.bit_generator.state == before
