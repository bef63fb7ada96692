from collections.abc import Callable
from io import BytesIO
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageDraw

from resnext.data.copies import MAX_BITS, Sample, copies, links
from resnext.imaging.fingerprint import fingerprint

Photograph = Callable[..., Image.Image]


def sample(image: Image.Image) -> Sample:
    return Sample(fingerprint(image), image.width, image.height)


def groups(*images: Image.Image) -> list[tuple[tuple[int, ...], bool]]:
    return [(group.indices, group.is_exact) for group in copies([sample(image) for image in images])]


def recompressed(image: Image.Image) -> Image.Image:
    buffer = BytesIO()
    image.save(buffer, "JPEG", quality=40)
    return Image.open(buffer).convert("RGB")


def resized(image: Image.Image) -> Image.Image:
    return image.resize((round(0.6 * image.width), round(0.6 * image.height)), Image.Resampling.LANCZOS)


def brightened(image: Image.Image) -> Image.Image:
    return image.point(lambda value: min(255, round(1.08 * value)))


def components(number: int, pairs: list[tuple[int, int]]) -> set[frozenset[int]]:
    of = {thing: {thing} for thing in range(number)}
    for one, other in pairs:
        joined = of[one] | of[other]
        of.update(dict.fromkeys(joined, joined))
    return {frozenset(group) for group in of.values()}


@st.composite
def clustered_hashes(draw: st.DrawFn) -> list[int]:
    """Hashes of which many differ in few bits."""
    seeds = draw(st.lists(st.integers(0, 2**64 - 1), min_size=1, max_size=4))
    flips = st.tuples(st.sampled_from(seeds), st.sets(st.integers(0, 63), max_size=9))
    return [seed ^ sum(1 << bit for bit in bits) for seed, bits in draw(st.lists(flips, max_size=30))]


@given(clustered_hashes())
def test_bands_join_the_same_images_as_comparing_all_with_all(hashes: list[int]) -> None:
    bits = np.array([list(value.to_bytes(8, "big")) for value in hashes], np.uint8).reshape(-1, 8)
    near = [
        (one, other)
        for one, other in combinations(range(len(hashes)), 2)
        if (hashes[one] ^ hashes[other]).bit_count() <= MAX_BITS
    ]
    found = list(links(bits, lambda index, others: np.ones(len(others), np.bool_)))
    assert components(len(hashes), found) == components(len(hashes), near)
    assert all((hashes[one] ^ hashes[other]).bit_count() <= MAX_BITS for one, other in found)


def test_a_thousand_copies_make_no_million_pairs() -> None:
    bits = np.zeros((1_000, 8), np.uint8)
    assert len(list(links(bits, lambda index, others: np.ones(len(others), np.bool_)))) < 10_000


@pytest.mark.parametrize("change", [recompressed, resized, brightened])
def test_copies_are_known_again(photograph: Photograph, change: Callable[[Image.Image], Image.Image]) -> None:
    originals = [photograph(seed) for seed in range(20)]
    found = groups(*originals, *map(change, originals))
    assert found == [((index, index + 20), False) for index in range(20)]


def test_equal_pixels_are_exact_copies_however_they_are_stored(photograph: Photograph) -> None:
    image = photograph(1)
    buffer = BytesIO()
    image.save(buffer, "PNG")
    assert groups(image, photograph(2), Image.open(buffer).convert("RGB")) == [((0, 2), True)]


def test_different_photographs_are_no_copies(photograph: Photograph) -> None:
    assert groups(*(photograph(seed) for seed in range(200))) == []


def plain(level: int) -> Image.Image:
    return Image.new("RGB", (64, 64), (level, level, level))


def slope(low: int, high: int) -> Image.Image:
    return Image.fromarray(np.tile(np.linspace(low, high, 64).astype(np.uint8)[:, None], (64, 64))).convert("RGB")


def noise(seed: int, level: int) -> Image.Image:
    grey = np.random.default_rng(seed).integers(level, level + 3, (64, 64), dtype=np.uint8)
    return Image.fromarray(grey).convert("RGB")


def test_images_without_detail_match_pixel_by_pixel_only() -> None:
    assert groups(plain(40), plain(41), slope(0, 200), slope(10, 220), noise(0, 99), noise(1, 99), plain(40)) == [
        ((0, 6), True)
    ]


def test_the_same_motif_in_another_shape_is_no_copy(photograph: Photograph) -> None:
    image = photograph(3)
    assert groups(image, image.resize((image.width, 2 * image.height))) == []


def test_tiny_images_match_pixel_by_pixel_only() -> None:
    digits = [Image.new("RGB", (8, 8), "white") for _ in range(3)]
    for digit, column in zip(digits, (3, 3, 4), strict=True):
        ImageDraw.Draw(digit).line((column, 1, 3, 6), fill="black")
    assert groups(*digits) == [((0, 1), True)]
