"""Copies among many images: the same pixels, and the same picture re-encoded, resized or slightly brightened.

Two images whose difference hashes differ in at most five of 64 bits agree wholly in one of six bands of these bits, so
that only images with a band in common are compared. A second look at small grey pictures, of equal brightness and
contrast, decides. Images without detail or smaller than that picture have nothing to be known by: they are copies only
pixel by pixel.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from resnext.imaging.fingerprint import GREY_SIDE, Fingerprint

MAX_BITS = 5

_NUM_BANDS = MAX_BITS + 1
# Of 2,062 photographs of hands on white no two are nearer than 0.18; copies at quality 40 or 60 % of the size are
# within 0.14.
_MAX_DIFFERENCE = 0.15
_MAX_ASPECT_RATIO = 1.05
_MIN_DETAIL = 1.0
_ROWS = 256

Bits = NDArray[np.uint8]
Indices = NDArray[np.intp]
Words = NDArray[np.uint64]
IsCopy = Callable[[int, Indices], NDArray[np.bool_]]


@dataclass(frozen=True, slots=True)
class Sample:
    """What is compared of an image: its fingerprint, its width and its height."""

    fingerprint: Fingerprint
    width: int
    height: int


@dataclass(frozen=True, slots=True)
class Group:
    """Images, by their indices in order, that are copies of each other; `is_exact` where they agree pixel by pixel."""

    indices: tuple[int, ...]
    is_exact: bool


def copies(samples: Sequence[Sample]) -> list[Group]:
    """Return the groups of copies among images, in order of their first image."""
    if not samples:
        return []
    by_pixels: dict[bytes, list[int]] = defaultdict(list)
    for index, sample in enumerate(samples):
        by_pixels[sample.fingerprint.pixels].append(index)
    different = list(by_pixels.values())
    shown = [samples[same[0]] for same in different]
    groups = [
        Group(tuple(sorted(index for place in joined for index in different[place])), len(joined) == 1)
        for joined in _joined(len(different), _near(shown))
    ]
    return [group for group in groups if len(group.indices) > 1]


def links(bits: Bits, is_copy: IsCopy) -> Iterator[tuple[int, int]]:
    """Yield pairs of images that join all which differ in at most five bits and are copies: enough pairs, not all.

    `bits` (images, 8) are packed in bytes; `is_copy` says of an image and some others which of these are its copies.
    """
    single, words = np.unpackbits(bits, axis=1), np.ascontiguousarray(bits).view(np.uint64)[:, 0]
    for band in range(_NUM_BANDS):
        # Every sixth bit: neighbours, which even areas make alike, go into different bands.
        keys = np.packbits(single[:, band::_NUM_BANDS], axis=1).astype(np.uint16)
        for members in _equal(keys[:, 0] << 8 | keys[:, 1]):
            yield from _spread(members, words, is_copy)


def _equal(keys: NDArray[np.integer]) -> Iterator[Indices]:
    """Yield the indices of equal keys, in order, where there are several."""
    order = np.argsort(keys, kind="stable")
    for members in np.split(order, np.flatnonzero(np.diff(keys[order])) + 1):
        if len(members) > 1:
            yield members


def _spread(members: Indices, words: Words, is_copy: IsCopy) -> Iterator[tuple[int, int]]:
    """Spread from image to image; each is found once: a thousand copies make a thousand pairs, not a million."""
    members = members[_have_company(words[members])]
    reached: list[int] = []
    while reached or len(members) > 1:
        if not reached:
            reached, members = [int(members[0])], members[1:]
        index = reached.pop()
        is_close = _are_close(words[members], words[index])
        is_close[is_close] = is_copy(index, members[is_close])
        found = members[is_close].tolist()
        yield from ((index, other) for other in found)
        reached.extend(found)
        members = members[~is_close]


def _have_company(words: Words) -> NDArray[np.bool_]:
    """Tell of hashes which are close to any other among them."""
    rows = range(0, len(words), _ROWS)
    counts = [_are_close(words[None], words[row : row + _ROWS, None]).sum(axis=1) for row in rows]
    return np.concatenate(counts) > 1  # each is close to itself


def _are_close(some: Words, others: Words | np.uint64) -> NDArray[np.bool_]:
    """Tell which hashes differ in at most five bits: clearing the lowest bit five times leaves none."""
    different = some ^ others
    for _ in range(MAX_BITS):
        different &= different - np.uint64(1)
    return np.asarray(different == 0)


def _near(samples: Sequence[Sample]) -> Iterator[tuple[int, int]]:
    """Yield pairs that join the images which look alike."""
    grey = np.array([np.frombuffer(sample.fingerprint.grey, np.uint8) for sample in samples])
    is_large = np.array([min(sample.width, sample.height) >= GREY_SIDE for sample in samples])
    detailed = np.flatnonzero(is_large & [_detail(picture) >= _MIN_DETAIL for picture in grey])
    if not len(detailed):
        return
    grey, aspects = grey[detailed], np.array([sample.width / sample.height for sample in samples])[detailed]
    bits = np.array([np.frombuffer(sample.fingerprint.bits, np.uint8) for sample in samples])[detailed]

    def is_copy(index: int, others: Indices) -> NDArray[np.bool_]:
        difference = np.abs(_standardised(grey[others]) - _standardised(grey[[index]])).mean(axis=1)
        ratio = aspects[others] / aspects[index]
        has_same_shape = np.maximum(ratio, 1 / ratio) <= _MAX_ASPECT_RATIO
        return np.asarray((difference <= _MAX_DIFFERENCE) & has_same_shape)

    yield from ((int(detailed[one]), int(detailed[other])) for one, other in links(bits, is_copy))


def _detail(grey: Bits) -> float:
    """Return how much neighbours in a grey picture depart from an even slope, in levels of grey."""
    rows = grey.reshape(GREY_SIDE, GREY_SIDE).astype(np.int16)
    return float(np.abs(np.diff(rows, n=2, axis=0)).mean() + np.abs(np.diff(rows, n=2, axis=1)).mean()) / 2


def _standardised(grey: Bits) -> NDArray[np.float32]:
    """Bring grey pictures (images, 1024) to one brightness and contrast: mean 0 and deviation 1."""
    values = grey.astype(np.float32)
    return np.asarray((values - values.mean(axis=1, keepdims=True)) / values.std(axis=1, keepdims=True))


def _joined(number: int, pairs: Iterable[tuple[int, int]]) -> list[list[int]]:
    """Return what pairs join of so many things, in order of the first of each."""
    parent = list(range(number))

    def root(thing: int) -> int:
        while parent[thing] != thing:
            parent[thing] = parent[parent[thing]]
            thing = parent[thing]
        return thing

    for one, other in pairs:
        first, second = sorted((root(one), root(other)))
        parent[second] = first
    groups: dict[int, list[int]] = defaultdict(list)
    for thing in range(number):
        groups[root(thing)].append(thing)
    return list(groups.values())
