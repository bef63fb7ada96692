"""Batches of a data set, decoded and augmented by threads that run ahead of the network.

Decoding and resizing release Python's lock, so threads serve where others need processes. The batches, and the
random changes in them, depend on the seed, the epoch and the sample alone, never on the number of threads.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from resnext.data.augment import Augment, Variant
from resnext.data.content import whole
from resnext.data.dataset import Dataset, Indexed, Picture
from resnext.data.mixing import DrawMix, Mix
from resnext.data.sampler import Indices, Sampler
from resnext.data.stream import Sample, Stream
from resnext.imaging.decode import ImageError
from resnext.imaging.threads import in_threads
from resnext.imaging.transform import stack
from resnext.imaging.undecoded import Undecoded
from resnext.imaging.views import views
from resnext.spec.preprocessing import Preprocessing
from resnext.spec.protocol import ScoringProtocol

Opening = Callable[[Picture], Image.Image | Undecoded]

_MOST_UNREADABLE_IN_A_ROW = 32
_NO_PIXELS = torch.zeros((0, 3, 1, 1), dtype=torch.uint8)


class UnreadableError(OSError):
    """So many images cannot be read that the data must be gone."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """Images as bytes (batch, 3, height, width), their labels (batch,) and names, and what could not be read.

    `colour` (batch, 3, 4), `shift` (batch, 2) and `erased` (batch, 4) are changes still to be made of the pixels as
    numbers, see `network_input`, and `mix` of images in pairs after them; None where there are none. `left_out` says of
    every unreadable image its name and the reason.
    """

    pixels: Tensor
    labels: Tensor
    names: tuple[str, ...]
    colour: Tensor | None = None
    shift: Tensor | None = None
    erased: Tensor | None = None
    mix: Mix | None = None
    left_out: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ViewBatch:
    """Several views of the same images, each a tensor of bytes (batch, 3, height, width); else as `Batch`."""

    pixels: tuple[Tensor, ...]
    labels: Tensor
    names: tuple[str, ...]
    left_out: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class Loading:
    """How batches are made: images in each, and threads that make them; 0 leaves it to the caller's."""

    batch_size: int = 64
    num_threads: int = 1


DEFAULT_LOADING = Loading()


def evaluation_batches(
    dataset: Dataset | Stream, preprocessing: Preprocessing, loading: Loading = DEFAULT_LOADING
) -> Iterator[Batch]:
    """Yield every readable image of a data set once, in order, as the classifier will see it."""
    for batch in view_batches(dataset, ScoringProtocol(preprocessing=preprocessing), loading):
        [pixels] = batch.pixels
        yield Batch(pixels=pixels, labels=batch.labels, names=batch.names, left_out=batch.left_out)


def view_batches(
    dataset: Dataset | Stream, protocol: ScoringProtocol, loading: Loading = DEFAULT_LOADING
) -> Iterator[ViewBatch]:
    """Yield every readable image of a data set once, in order, in the views of a protocol.

    Whole images have many shapes and cannot be stacked: under a dense protocol each is a batch of its own.
    """

    def make(pictures: Iterable[Picture]) -> ViewBatch:
        shown, kept, left_out = [], [], []
        for picture in pictures:
            try:
                shown.append(views(picture.image(), protocol))
                kept.append(picture)
            except ImageError as error:
                left_out.append(unreadable(picture.name, error))
        return ViewBatch(
            pixels=tuple(map(stack, zip(*shown, strict=True))) if shown else (_NO_PIXELS,) * protocol.num_views,
            labels=_labels(kept),
            names=tuple(picture.name for picture in kept),
            left_out=tuple(left_out),
        )

    size = 1 if protocol.crops == "dense" else loading.batch_size
    return in_threads(make, _pictures(dataset, size, loading.num_threads), loading.num_threads)


def _pictures(dataset: Dataset | Stream, size: int, num_threads: int) -> Iterator[Sequence[Picture]]:
    num_images = len(dataset.labels)
    if isinstance(dataset, Stream):
        return read_ahead(dataset.samples(), range(-(-num_images // size)), size, num_threads)
    return ([Indexed(dataset, index) for index in indices] for indices in chunks(num_images, size))


def read_ahead(
    samples: Iterator[Sample], batches: Iterable[int], size: int, num_threads: int
) -> Iterator[Sequence[Sample]]:
    """Yield samples of a stream by so many batches of a size; one thread reads them, where there are any."""
    return in_threads(lambda _: list(islice(samples, size)), batches, min(1, num_threads))


def make_batch(
    shown: Sequence[tuple[Picture, Variant]], left_out: Iterable[str], mix: Mix | None, *, pins: bool
) -> Batch:
    """Put pictures, each with its random variant, together as a batch to train on, which is mixed or not.

    `pins` puts the pixels into memory from which a GPU copies while it computes.
    """
    pictures = [picture for picture, _ in shown]
    pixels = stack([variant.image for _, variant in shown])
    return Batch(
        pixels=pixels.pin_memory() if pins else pixels,
        labels=_labels(pictures),
        names=tuple(picture.name for picture in pictures),
        colour=_stacked([variant.colour for _, variant in shown]),
        shift=_stacked([variant.shift for _, variant in shown]),
        erased=_stacked([variant.erased for _, variant in shown]),
        mix=mix,
        left_out=tuple(left_out),
    )


@dataclass(frozen=True, kw_only=True)
class Feed:
    """A training set, shuffled and augmented anew each epoch; every process has its own feed of the same epoch.

    The place of an image that cannot be read is taken by the next readable one in the epoch's order, so that batches,
    and groups of batch norm within them, are always full. `draw_mix` draws how a batch is mixed, if it is. `opening`
    gives images whole, or undecoded, for the augmentation to decode as far as it needs. `pins` prepares batches for
    the copy to a GPU.
    """

    dataset: Dataset
    augment: Augment
    sampler: Sampler
    draw_mix: DrawMix | None = None
    opening: Opening = whole
    num_threads: int = 1
    pins: bool = False

    def batches(self, epoch: int, first_step: int = 0) -> Iterator[Batch]:
        """Yield this process's part of the batches of an epoch, from a step on, counted from 0.

        Raises `UnreadableError` where 32 images in a row cannot be read.
        """
        order = self.sampler.order(epoch)
        steps = range(first_step, self.sampler.steps_per_epoch)
        return in_threads(lambda step: self._make(epoch, order, step), steps, self.num_threads)

    def _make(self, epoch: int, order: Indices, step: int) -> Batch:
        left_out: list[str] = []
        shown = [self._readable(epoch, order, position, left_out) for position in self.sampler.positions(step)]
        mix = None if self.draw_mix is None else self.draw_mix(self.sampler.batch_generator(epoch, step))
        return make_batch(shown, left_out, mix, pins=self.pins)

    def _readable(self, epoch: int, order: Indices, position: int, left_out: list[str]) -> tuple[Picture, Variant]:
        """Return the first readable image from a position of the order on, and note those that are not."""
        for place in range(position, position + _MOST_UNREADABLE_IN_A_ROW):
            picture = Indexed(self.dataset, int(order[place % len(order)]))
            rng = self.sampler.generator(epoch, picture.index, place)
            try:
                return picture, self.augment(self.opening(picture), rng)
            except ImageError as error:
                left_out.append(unreadable(picture.name, error))
        raise UnreadableError(
            f"{_MOST_UNREADABLE_IN_A_ROW} training images in a row could not be read, the last: {left_out[-1]};"
            " see whether the data is still where it was"
        )


def chunks(num_images: int, size: int) -> Iterator[range]:
    """Cut the indices of a data set into ranges of a size; the last may be shorter."""
    return (range(start, min(start + size, num_images)) for start in range(0, num_images, size))


def unreadable(name: str, error: ImageError) -> str:
    """Say that an image was left out, and why."""
    return f"{name}: left out, {error}"


def _labels(pictures: Sequence[Picture]) -> Tensor:
    return torch.tensor([picture.label for picture in pictures], dtype=torch.int64)


def _stacked(values: Sequence[object]) -> Tensor | None:
    return None if values[0] is None else torch.from_numpy(np.asarray(values))
