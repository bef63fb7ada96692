"""A training set that is a stream, shuffled as far as a stream can be, over any number of processes.

The order of an epoch is a function of seed and epoch: its shards are shuffled, laid end to end and cut into equal
stretches, one for each process; each shuffles its own within a window. Known beforehand, it needs no state to be
resumed from.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from resnext.data.augment import Augment, Variant
from resnext.data.content import whole
from resnext.data.loader import Batch, Opening, UnreadableError, make_batch, read_ahead, unreadable
from resnext.data.mixing import DrawMix
from resnext.data.sampler import Indices, Sampler
from resnext.data.stream import Sample, Stream
from resnext.imaging.decode import ImageError
from resnext.imaging.threads import in_threads

WINDOW = 1024

_SHARDS, _WINDOW = 3, 4  # what is drawn; see the constants of `sampler`


@dataclass(frozen=True, kw_only=True)
class StreamFeed:
    """A stream to train on; every process has its own feed of the same epoch.

    Up to 1,024 encoded images wait in the window. The place of one that cannot be decoded is taken by the next of its
    batch that can. `draw_mix` draws how a batch is mixed, if it is. `opening` and `pins` as for `Feed`.
    """

    stream: Stream
    augment: Augment
    sampler: Sampler
    draw_mix: DrawMix | None = None
    opening: Opening = whole
    num_threads: int = 1
    pins: bool = False

    def batches(self, epoch: int, first_step: int = 0) -> Iterator[Batch]:
        """Yield this process's part of the batches of an epoch, from a step on, counted from 0.

        Raises `OSError` where a shard cannot be read, and `UnreadableError` where no image of a batch can be decoded.
        """
        share = len(self.sampler.positions(0))
        steps = range(first_step, self.sampler.steps_per_epoch)
        read = read_ahead(self._samples(epoch, first_step * share), steps, share, self.num_threads)
        return in_threads(lambda item: self._make(epoch, *item), zip(steps, read, strict=True), self.num_threads)

    def _samples(self, epoch: int, num_done: int) -> Iterator[Sample]:
        """Yield what this process still has to show in an epoch, in order; of what is done nothing is kept."""
        sampler = self.sampler
        length = sampler.steps_per_epoch * len(sampler.positions(0))
        shards = np.random.default_rng([sampler.seed, _SHARDS, epoch]).permutation(len(self.stream.shards))
        start = sampler.rank * length
        rng = np.random.default_rng([sampler.seed, _WINDOW, epoch, sampler.rank])
        order = window_order(length, WINDOW, rng)[num_done:]
        if not len(order):
            return
        shuffled = Stream(tuple(self.stream.shards[number] for number in shards))
        first = int(order.min())
        yield from _in_order(shuffled.stretch(start + first, start + length).samples(), order - first)

    def _make(self, epoch: int, step: int, samples: Sequence[Sample]) -> Batch:
        readable: dict[int, Variant] = {}
        left_out = []
        for place, sample in enumerate(samples):
            rng = self.sampler.generator(epoch, sample.index)
            try:
                readable[place] = self.augment(self.opening(sample), rng)
            except ImageError as error:
                left_out.append(unreadable(sample.name, error))
        if not readable:
            raise UnreadableError(
                f"none of the {len(samples)} images of a batch can be decoded, the last: {left_out[-1]}"
            )
        shown = []
        for place in range(len(samples)):
            taken = next((other for other in readable if other >= place), min(readable))
            shown.append((samples[taken], readable[taken]))
        mix = None if self.draw_mix is None else self.draw_mix(self.sampler.batch_generator(epoch, step))
        return make_batch(shown, left_out, mix, pins=self.pins)


def window_order(num_samples: int, window: int, rng: np.random.Generator) -> Indices:
    """Return the positions of samples in the order in which a shuffle window gives them out.

    The window is kept full from what comes in, and each draw gives out one of its samples: the k-th given out, counted
    from 0, is one of the first k + `window`.
    """
    sizes = np.minimum(window, num_samples - np.arange(num_samples))
    draws = (rng.random(num_samples) * sizes).astype(np.int64)
    waiting = list(range(min(window, num_samples)))
    order = np.empty(num_samples, np.int64)
    for place, draw in enumerate(draws.tolist()):
        order[place] = waiting[draw]
        coming = place + window
        last = coming if coming < num_samples else waiting.pop()
        if draw < len(waiting):
            waiting[draw] = last
    return order


def _in_order(samples: Iterator[Sample], order: Indices) -> Iterator[Sample]:
    """Give samples out in an order of their positions; those that are not in it are dropped."""
    wanted = set(order.tolist())
    waiting: dict[int, Sample] = {}
    coming = enumerate(samples)
    for position in order.tolist():
        while position not in waiting:
            at, sample = next(coming)
            if at in wanted:
                waiting[at] = sample
        yield waiting.pop(position)
