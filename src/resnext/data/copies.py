"""Copies among many images: the same pixels, and the same picture re-encoded, resized or slightly brightened.

Two images whose difference hashes differ in at most five of 64 bits agree wholly in one of six bands of these bits, so
that only images with a band in common are compared. Where thousands have one in common, as forms of one layout have,
the same is done among them with finer hashes, of what parts them from each other; there a near copy may be missed, and
`compared_in_part` says among which.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain

import numpy as np

from resnext.data.compared import MAX_BITS, Compared, Flags, Indices, IsCopy, Words, are_close

_NUM_BANDS = MAX_BITS + 1
# Every sixth bit: neighbours, which even areas make alike, go into different bands.
_BANDS = [np.packbits(np.arange(64) % _NUM_BANDS == band).view(np.uint64)[0] for band in range(_NUM_BANDS)]
_MOST_COMPARED = 1_024
_ROWS = 256

Among = Callable[[Indices], IsCopy]
Finer = Callable[[Indices], Words]


@dataclass(frozen=True, slots=True)
class Group:
    """Images, by their indices in order, that are copies of each other, or each of some other in the group.

    `is_exact` where they agree pixel by pixel.
    """

    indices: tuple[int, ...]
    is_exact: bool


def copies(images: Compared) -> list[Group]:
    """Return the groups of copies among images, in order of their first image."""
    same = list(_same(images.pixels))
    is_first = _are_first(same, len(images))
    known = np.flatnonzero(is_first & images.is_known)
    near = links(
        images.hashes[known],
        lambda members: images.finer_hashes(known[members]),
        lambda members: images.look_alike(known[members]),
    )
    exact = ((int(members[0]), int(other)) for members in same for other in members[1:])
    joined = _joined(chain(exact, ((int(known[one]), int(known[other])) for one, other in near)))
    return [Group(tuple(indices), int(is_first[indices].sum()) == 1) for indices in joined]


def compared_in_part(images: Compared, groups: Iterable[Group]) -> Indices:
    """Return which images, in order, were compared with some only of those that they may be near copies of.

    `groups` are the copies among all; a crowd that is one group hides no other copies.
    """
    known = np.flatnonzero(_are_first(_same(images.pixels), len(images)) & images.is_known)
    group_of = np.arange(len(images))
    for group in groups:
        group_of[list(group.indices)] = group.indices[0]
    hashes, is_hiding = images.hashes[known], np.zeros(len(images), np.bool_)
    for crowd in (known[members] for band in _BANDS for members in _equal(hashes & band) if _is_crowd(members)):
        is_hiding[crowd] |= (group_of[crowd] != group_of[crowd[0]]).any()
    return np.flatnonzero(is_hiding)


def kept_and_copies(images: Compared, ranked: Sequence[int]) -> list[list[int]]:
    """Divide a group of copies, the best first, into images to be kept, each followed by its copies among the rest.

    The first image is kept, and so is every other that is no copy of one kept before it: of a film, in which each
    picture is nearly the next, a few stay that are not alike.
    """
    remaining, result = np.array(ranked, np.intp), list[list[int]]()
    while len(remaining):
        first, remaining = int(remaining[0]), remaining[1:]
        is_copy = images.are_copies(first, remaining)
        result.append([first, *remaining[is_copy].tolist()])
        remaining = remaining[~is_copy]
    return result


def links(hashes: Words, finer: Finer, among: Among) -> Iterator[tuple[int, int]]:
    """Yield pairs of images that join all which differ in at most five bits and are copies: enough pairs, not all.

    `finer` hashes the images of a crowd; `among` returns, of a few images, what says of one which are its copies, all
    by their places among the few.
    """
    for number, band in enumerate(_BANDS):
        for members in _equal(hashes & band):
            for some in _parted(members, finer):
                yield from _spread(some, hashes, _BANDS[:number], among)


def _parted(members: Indices, finer: Finer) -> Iterator[Indices]:
    """Part a crowd into neighbours, as a film has thousands that are all alike, and into those of equal finer bits."""
    yield from _cut(members)
    if _is_crowd(members):
        words = finer(members)
        for places in chain.from_iterable(_equal(words & band) for band in _BANDS):
            yield from _cut(members[places])


def _is_crowd(members: Indices) -> bool:
    """Tell whether images are too many to be one part."""
    return len(members) > _MOST_COMPARED + 1


def _cut(members: Indices) -> Iterator[Indices]:
    """Cut images into parts of at most 1,024, and one that the next part has too, so that copies join parts."""
    for start in range(0, len(members) - 1, _MOST_COMPARED):
        yield members[start : start + _MOST_COMPARED + 1]


def _equal(keys: Words) -> Iterator[Indices]:
    """Yield the indices of equal keys, in order, where there are several."""
    order = np.argsort(keys, kind="stable")
    return _several(order, np.diff(keys[order]) != 0)


def _same(pixels: Words) -> Iterator[Indices]:
    """Yield the indices of equal digests (images, 2), in order, where there are several."""
    order = np.lexsort(pixels.T)
    return _several(order, (np.diff(pixels[order], axis=0) != 0).any(axis=1))


def _are_first(same: Iterable[Indices], num_images: int) -> Flags:
    """Tell which of so many images are the first of their pixels."""
    result = np.ones(num_images, np.bool_)
    for members in same:
        result[members[1:]] = False
    return result


def _several(order: Indices, is_end: Flags) -> Iterator[Indices]:
    """Cut where each stretch ends, and yield the stretches of more than one."""
    starts = np.flatnonzero(np.concatenate([[True], is_end])) if len(order) else np.array([], np.intp)
    lengths = np.diff(starts, append=len(order))
    for start, length in zip(starts[lengths > 1].tolist(), lengths[lengths > 1].tolist(), strict=True):
        yield order[start : start + length]


def _spread(members: Indices, hashes: Words, earlier: Sequence[np.uint64], among: Among) -> Iterator[tuple[int, int]]:
    """Spread from image to image; each is found once: a thousand copies make a thousand pairs, not a million.

    Pairs that agree in an earlier band were compared there.
    """
    members = members[_have_company(hashes[members])]
    if not len(members):
        return
    words, is_copy = hashes[members], among(members)
    remaining, reached = np.arange(len(members)), list[int]()
    while reached or len(remaining) > 1:
        if not reached:
            reached, remaining = [int(remaining[0])], remaining[1:]
        place = reached.pop()
        close = remaining[are_close(words[remaining], words[place])]
        close = close[_differ_in_each(words[close] ^ words[place], earlier)]
        found = close[is_copy(place, close)]
        yield from ((int(members[place]), int(members[other])) for other in found)
        reached.extend(found.tolist())
        remaining = np.setdiff1d(remaining, found, assume_unique=True) if len(found) else remaining


def _have_company(words: Words) -> Flags:
    """Tell of hashes which are close to any other among them."""
    rows = range(0, len(words), _ROWS)
    counts = [are_close(words[None], words[row : row + _ROWS, None]).sum(axis=1) for row in rows]
    return np.concatenate(counts) > 1  # each is close to itself


def _differ_in_each(different: Words, bands: Sequence[np.uint64]) -> Flags:
    result = np.ones(len(different), np.bool_)
    for band in bands:
        result &= different & band != 0
    return result


def _joined(pairs: Iterable[tuple[int, int]]) -> list[list[int]]:
    """Return what pairs join, in order of the first of each."""
    parent: dict[int, int] = {}

    def root(thing: int) -> int:
        while (above := parent.setdefault(thing, thing)) != thing:
            parent[thing] = thing = parent[above]
        return thing

    for one, other in pairs:
        first, second = sorted((root(one), root(other)))
        parent[second] = first
    groups: dict[int, list[int]] = defaultdict(list)
    for thing in sorted(parent):
        groups[root(thing)].append(thing)
    return list(groups.values())
