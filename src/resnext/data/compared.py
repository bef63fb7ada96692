"""What copies are told by, kept in arrays at about a kilobyte an image, and when two images are copies.

They are where all pixels are equal, or where difference hashes, the ratio of the sides, and small grey pictures, of
equal brightness and contrast, agree. Images without detail or smaller than that picture have nothing to be known by:
they are copies only pixel by pixel.
"""

from array import array
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from resnext.imaging.fingerprint import GREY_SIDE, Fingerprint

MAX_BITS = 5

# Of 2,062 photographs of hands on white no two are nearer than 0.18; copies at quality 40 or 60 % of the size are
# within 0.14.
_MAX_DIFFERENCE = 0.15
_MAX_ASPECT_RATIO = 1.05
_MIN_DETAIL = 1.0
_ROWS = 256
_NORMALS = 2 * np.random.default_rng(0).integers(0, 2, (GREY_SIDE**2, 64)).astype(np.float32) - 1

Indices = NDArray[np.intp]
Words = NDArray[np.uint64]
Flags = NDArray[np.bool_]
Floats = NDArray[np.float32]
IsCopy = Callable[[int, Indices], Flags]


@dataclass(slots=True)
class Collection:
    """What is compared of images, laid end to end as they come."""

    pixels: bytearray = field(default_factory=bytearray)
    bits: bytearray = field(default_factory=bytearray)
    grey: bytearray = field(default_factory=bytearray)
    is_known: bytearray = field(default_factory=bytearray)
    aspects: "array[float]" = field(default_factory=lambda: array("d"))

    def add(self, fingerprint: Fingerprint, width: int, height: int) -> None:
        """Add an image, by its fingerprint and its size in pixels."""
        grey = np.frombuffer(fingerprint.grey, np.uint8).reshape(GREY_SIDE, GREY_SIDE)
        self.pixels += fingerprint.pixels
        self.bits += fingerprint.bits
        self.grey += fingerprint.grey
        self.is_known.append(min(width, height) >= GREY_SIDE and _detail(grey) >= _MIN_DETAIL)
        self.aspects.append(width / height)


@dataclass(frozen=True, slots=True, kw_only=True)
class Compared:
    """What is compared of so many images.

    `pixels` (images, 2) are digests of all pixels, `hashes` (images,) difference hashes, `grey` (images, 1024) small
    pictures, `aspects` (images,) widths by heights; `is_known` is whether an image has anything to be known by but its
    pixels.
    """

    pixels: Words
    hashes: Words
    grey: NDArray[np.uint8]
    aspects: NDArray[np.float64]
    is_known: Flags

    @classmethod
    def of(cls, images: Collection) -> "Compared":
        """Return what is compared of images, without copying it."""
        return cls(
            pixels=np.frombuffer(images.pixels, np.uint64).reshape(-1, 2),
            hashes=np.frombuffer(images.bits, np.uint64),
            grey=np.frombuffer(images.grey, np.uint8).reshape(-1, GREY_SIDE**2),
            aspects=np.frombuffer(images.aspects, np.float64),
            is_known=np.frombuffer(images.is_known, np.bool_),
        )

    def __len__(self) -> int:
        """Return how many images there are."""
        return len(self.hashes)

    def are_copies(self, index: int, others: Indices) -> Flags:
        """Tell which other images are copies of one."""
        result = (self.pixels[others] == self.pixels[index]).all(axis=1)
        if self.is_known[index]:
            near = np.flatnonzero(self.is_known[others] & are_close(self.hashes[others], self.hashes[index]))
            for rows in _stretches(len(near)):
                members = np.array([index, *others[near[rows]]])
                result[near[rows]] |= self.look_alike(members)(0, np.arange(1, len(members)))
        return np.asarray(result)

    def look_alike(self, members: Indices) -> IsCopy:
        """Return what tells which have the shape and the picture of one, by their places among some known images.

        The pictures of these, 4 KB each, are held for that.
        """
        pictures, aspects = _standardised(self.grey[members]), self.aspects[members]

        def is_copy(place: int, others: Indices) -> Flags:
            ratio = aspects[others] / aspects[place]
            result = np.asarray(np.maximum(ratio, 1 / ratio) <= _MAX_ASPECT_RATIO)
            result[result] = _differences(pictures, place, others[result]) <= _MAX_DIFFERENCE
            return result

        return is_copy

    def finer_hashes(self, members: Indices) -> Words:
        """Return hashes of 64 bits of what parts some pictures that are much alike: nearer ones have more in common.

        A bit is the side of a random plane, through the mean of all these pictures, on which a picture is.
        """
        rows = _stretches(len(members))
        sides = np.concatenate([_standardised(self.grey[members[some]]) @ _NORMALS for some in rows])
        return np.packbits(sides > sides.mean(axis=0), axis=1).view(np.uint64)[:, 0]


def are_close(some: Words, others: Words | np.uint64) -> Flags:
    """Tell which hashes differ in at most five bits: clearing the lowest bit five times leaves none."""
    different = some ^ others
    for _ in range(MAX_BITS):
        different &= different - np.uint64(1)
    return np.asarray(different == 0)


def _stretches(number: int) -> list[slice]:
    """Cut so many rows into stretches, so that what is computed of them at once stays small."""
    return [slice(*ends) for ends in pairwise([*range(0, number, _ROWS), number])]


def _standardised(grey: NDArray[np.uint8]) -> Floats:
    """Bring grey pictures (images, 1024), none of them even, to one brightness and contrast: mean 0 and deviation 1."""
    values = grey.astype(np.float32)
    return np.asarray((values - values.mean(axis=1, keepdims=True)) / values.std(axis=1, keepdims=True))


def _differences(pictures: Floats, place: int, others: Indices) -> Floats:
    result = np.empty(len(others), np.float32)
    for rows in _stretches(len(others)):
        difference = pictures[others[rows]]
        difference -= pictures[place]
        result[rows] = np.abs(difference, out=difference).mean(axis=1)
    return result


def _detail(grey: NDArray[np.uint8]) -> float:
    """Return how much neighbours in a grey picture depart from an even slope, in levels of grey."""
    rows = grey.astype(np.int16)
    return float(np.abs(np.diff(rows, n=2, axis=0)).mean() + np.abs(np.diff(rows, n=2, axis=1)).mean()) / 2
