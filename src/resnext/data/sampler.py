"""Which image stands where in an epoch: a pure function of seed and epoch, however many processes read it."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

_SHUFFLE, _AUGMENT, _MIX = 1, 2, 3

Indices = NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Sampler:
    """The order of a training set, and the part of every batch that one of several processes takes.

    `batch_size` is that of all processes together. An incomplete last batch is dropped unless it is the only one.
    `labels` are those of all images, where every class is to be shown equally often; None shows every image once.
    """

    num_images: int
    batch_size: int
    seed: int
    rank: int = 0
    num_ranks: int = 1
    labels: Sequence[int] | None = None

    @property
    def steps_per_epoch(self) -> int:
        """How many batches an epoch has."""
        return max(1, self.num_images // self.batch_size)

    def order(self, epoch: int) -> Indices:
        """Return the shuffled indices of the images of an epoch: all of them, or as many of balanced classes."""
        rng = np.random.default_rng([self.seed, _SHUFFLE, epoch])
        return rng.permutation(self.num_images) if self.labels is None else balanced_order(self.labels, rng)

    def positions(self, step: int) -> range:
        """Return the places in the order that this process reads for a step of an epoch, counted from 0.

        Processes read neighbouring parts of equal size; the batch of one process is theirs, joined by rank.
        """
        size = min(self.batch_size, self.num_images)
        start, share = step * size, size // self.num_ranks
        return range(start + self.rank * share, start + (self.rank + 1) * share)

    def generator(self, epoch: int, index: int, place: int = 0) -> np.random.Generator:
        """Return the generator from which the random changes of an image in an epoch are drawn.

        An image that a balanced order shows several times is changed in another way at each place.
        """
        key = [self.seed, _AUGMENT, epoch, index]
        return np.random.default_rng(key if self.labels is None else [*key, place])

    def batch_generator(self, epoch: int, step: int) -> np.random.Generator:
        """Return the generator from which is drawn what the images of a step have in common, in every process."""
        return np.random.default_rng([self.seed, _MIX, epoch, step])


def balanced_order(labels: Sequence[int], rng: np.random.Generator) -> Indices:
    """Return as many indices as there are labels, shuffled, of every class that occurs as many, within one.

    No image is repeated before all others of its class were taken as often.
    """
    values = np.asarray(labels)
    by_class = np.argsort(values, kind="stable")
    classes = np.split(by_class, np.unique(values[by_class], return_index=True)[1][1:])
    each, num_larger = divmod(len(values), len(classes))
    larger = set(rng.permutation(len(classes))[:num_larger].tolist())
    taken = [_in_turns(images, each + (place in larger), rng) for place, images in enumerate(classes)]
    return rng.permutation(np.concatenate(taken))


def _in_turns(images: Indices, number: int, rng: np.random.Generator) -> Indices:
    num_turns = -(-number // len(images))
    return np.concatenate([rng.permutation(images) for _ in range(num_turns)])[:number]
