"""Which image stands where in an epoch: a pure function of seed and epoch, however many processes read it."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

_SHUFFLE, _AUGMENT = 1, 2

Indices = NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Sampler:
    """The order of a training set, and the part of every batch that one of several processes takes.

    `batch_size` is that of all processes together. An incomplete last batch is dropped unless it is the only one.
    """

    num_images: int
    batch_size: int
    seed: int
    rank: int = 0
    num_ranks: int = 1

    @property
    def steps_per_epoch(self) -> int:
        """How many batches an epoch has."""
        return max(1, self.num_images // self.batch_size)

    def order(self, epoch: int) -> Indices:
        """Return the shuffled indices of all images in an epoch."""
        return np.random.default_rng([self.seed, _SHUFFLE, epoch]).permutation(self.num_images)

    def positions(self, step: int) -> range:
        """Return the places in the order that this process reads for a step of an epoch, counted from 0.

        Processes read neighbouring parts of equal size; the batch of one process is theirs, joined by rank.
        """
        size = min(self.batch_size, self.num_images)
        start, share = step * size, size // self.num_ranks
        return range(start + self.rank * share, start + (self.rank + 1) * share)

    def generator(self, epoch: int, index: int) -> np.random.Generator:
        """Return the generator from which the random changes of an image in an epoch are drawn."""
        return np.random.default_rng([self.seed, _AUGMENT, epoch, index])
