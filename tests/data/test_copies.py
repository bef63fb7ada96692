from collections.abc import Callable
from io import BytesIO
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from resnext.data.compared import MAX_BITS, Collection, Compared, _differences
from resnext.data.copies import compared_in_part, copies, kept_and_copies, links
from resnext.imaging.fingerprint import Fingerprint, fingerprint

Photograph = Callable[..., Image.Image]


def compared(*images: Image.Image) -> Compared:
    collection = Collection()
    for image in images:
        collection.add(fingerprint(image), image.width, image.height)
    return Compared.of(collection)


def groups(*images: Image.Image) -> list[tuple[tuple[int, ...], bool]]:
    return [(group.indices, group.is_exact) for group in copies(compared(*images))]


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


def all_are_copies(members: NDArray[np.intp]) -> Callable[[int, NDArray[np.intp]], NDArray[np.bool_]]:
    return lambda place, others: np.ones(len(others), np.bool_)


def no_crowd(members: NDArray[np.intp]) -> NDArray[np.uint64]:
    raise AssertionError(f"{len(members)} images are no crowd")


@given(clustered_hashes())
def test_bands_join_the_same_images_as_comparing_all_with_all(hashes: list[int]) -> None:
    near = [
        (one, other)
        for one, other in combinations(range(len(hashes)), 2)
        if (hashes[one] ^ hashes[other]).bit_count() <= MAX_BITS
    ]
    found = list(links(np.array(hashes, np.uint64), no_crowd, all_are_copies))
    assert components(len(hashes), found) == components(len(hashes), near)
    assert all((hashes[one] ^ hashes[other]).bit_count() <= MAX_BITS for one, other in found)


def test_a_thousand_copies_make_no_million_pairs() -> None:
    assert len(list(links(np.zeros(1_000, np.uint64), no_crowd, all_are_copies))) < 10_000


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


def fading(photograph: Photograph, num_frames: int) -> list[Image.Image]:
    """Make the frames of a cross-fade, each nearly the next."""
    first, last = photograph(1), photograph(2)
    return [Image.blend(first, last, number / (num_frames - 1)) for number in range(num_frames)]


def test_of_a_chain_what_is_no_copy_of_anything_kept_is_kept(photograph: Photograph) -> None:
    images = compared(*fading(photograph, 40))
    [group] = copies(images)
    stars = kept_and_copies(images, group.indices)
    kept = [first for first, *_ in stars]
    assert 2 < len(kept) < len(group.indices)
    assert sorted(index for star in stars for index in star) == list(group.indices)
    for first, *others in stars:
        assert images.are_copies(first, np.array(others, np.intp)).all()
        assert not images.are_copies(first, np.array([other for other in kept if other != first])).any()


def test_copies_of_one_image_leave_one(photograph: Photograph) -> None:
    image = photograph(5)
    images = compared(recompressed(image), image, resized(image), image, brightened(image))
    assert kept_and_copies(images, [3, 0, 1, 2, 4]) == [[3, 0, 1, 2, 4]]


def crowd(num_strangers: int, num_copies: int) -> Compared:
    """Make images of one layout and one difference hash, each with marks of its own, and slightly changed copies."""
    rng = np.random.default_rng(0)
    layout = np.kron(rng.integers(60, 190, (8, 8)), np.ones((4, 4), int))
    strangers = [layout + (16 * rng.normal(size=(32, 32))).astype(int) for _ in range(num_strangers)]
    copied = [strangers[index % num_strangers] + rng.integers(-3, 4, (32, 32)) for index in range(num_copies)]
    collection = Collection()
    for picture in (*strangers, *copied):
        grey = picture.clip(0, 255).astype(np.uint8).tobytes()
        collection.add(Fingerprint(pixels=rng.bytes(16), bits=bytes(8), grey=grey), 400, 300)
    return Compared.of(collection)


def test_copies_in_a_crowd_of_one_layout_are_found_by_few_comparisons(monkeypatch: pytest.MonkeyPatch) -> None:
    num_compared = 0

    def counted(pictures: NDArray[np.float32], place: int, others: NDArray[np.intp]) -> NDArray[np.float32]:
        nonlocal num_compared
        num_compared += len(others)
        return _differences(pictures, place, others)

    monkeypatch.setattr("resnext.data.compared._differences", counted)
    monkeypatch.setattr("resnext.data.copies._MOST_COMPARED", 64)
    found = [group.indices for group in copies(crowd(1_000, 100))]
    assert set(found) <= {(index, 1_000 + index) for index in range(100)}
    assert len(found) >= 98
    assert num_compared < 100_000  # of 604,450 pairs


def test_a_crowd_of_copies_is_one_group(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("resnext.data.copies._MOST_COMPARED", 16)
    images = crowd(1, 99)
    assert [group.indices for group in copies(images)] == [tuple(range(100))]
    assert compared_in_part(images, copies(images)).tolist() == []


@pytest.mark.parametrize(("num_images", "num_compared_in_part"), [(2, 0), (65, 0), (66, 66)])
def test_what_is_too_many_to_compare_each_with_each_is_known(
    monkeypatch: pytest.MonkeyPatch, num_images: int, num_compared_in_part: int
) -> None:
    monkeypatch.setattr("resnext.data.copies._MOST_COMPARED", 64)
    images = crowd(num_images, 0)
    assert compared_in_part(images, copies(images)).tolist() == list(range(num_compared_in_part))


def test_equal_pixels_and_images_of_another_layout_are_compared_in_full(
    photograph: Photograph, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("resnext.data.copies._MOST_COMPARED", 64)
    same = compared(*[photograph(1)] * 70, *(photograph(seed) for seed in range(2, 72)))
    assert compared_in_part(same, copies(same)).tolist() == []


def test_what_is_compared_takes_about_a_kilobyte_an_image() -> None:
    images = crowd(600, 0)
    assert sum(getattr(images, name).nbytes for name in images.__slots__) < 1_100 * len(images)
