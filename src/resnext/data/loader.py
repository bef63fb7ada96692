"""Batches of a data set in a given order, decoded and augmented by threads that run ahead of the network.

Decoding and resizing release Python's lock, so threads serve where others need processes. The batches, and the
random changes in them, depend on the seed, the epoch and the sample alone, never on the number of threads.
"""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial

import numpy as np
from PIL import Image
from torch import Tensor, int64, tensor, uint8, zeros

from resnext.data.augment import Augment
from resnext.data.dataset import Dataset
from resnext.imaging.decode import ImageError
from resnext.imaging.transform import central_crop, stack
from resnext.spec.preprocessing import Preprocessing

_SHUFFLE, _AUGMENT = 1, 2

Prepare = Callable[[Image.Image, int], Image.Image]


@dataclass(frozen=True, slots=True)
class Batch:
    """Images as bytes (batch, 3, height, width), their labels (batch,), and those left out with the reason."""

    pixels: Tensor
    labels: Tensor
    names: tuple[str, ...]
    left_out: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class Loading:
    """How batches are made: images in each, threads that make them, and whether an incomplete last one is dropped."""

    batch_size: int = 64
    num_threads: int = 1
    drops_last: bool = False


DEFAULT_LOADING = Loading()


def evaluation_batches(
    dataset: Dataset, preprocessing: Preprocessing, loading: Loading = DEFAULT_LOADING
) -> Iterator[Batch]:
    """Yield every image of a data set once, in order, as the classifier will see it."""
    order = range(len(dataset.labels))
    return _batches(dataset, order, lambda image, _: central_crop(image, preprocessing), loading)


def training_batches(dataset: Dataset, augment: Augment, loading: Loading, *, seed: int, epoch: int) -> Iterator[Batch]:
    """Yield a data set shuffled and augmented for one epoch."""
    order = np.random.default_rng([seed, _SHUFFLE, epoch]).permutation(len(dataset.labels)).tolist()
    return _batches(dataset, order, lambda image, i: augment(image, _sample_rng(seed, epoch, i)), loading)


def _sample_rng(seed: int, epoch: int, index: int) -> np.random.Generator:
    return np.random.default_rng([seed, _AUGMENT, epoch, index])


def _batches(dataset: Dataset, order: Sequence[int], prepare: Prepare, loading: Loading) -> Iterator[Batch]:
    size = loading.batch_size
    chunks = [order[start : start + size] for start in range(0, len(order), size)]
    if loading.drops_last and len(chunks) > 1 and len(chunks[-1]) < size:
        chunks.pop()
    make = partial(_make, dataset, prepare)
    if loading.num_threads == 0:
        yield from map(make, chunks)
        return
    pool = ThreadPoolExecutor(loading.num_threads, thread_name_prefix="loader")
    try:
        ahead = deque(pool.submit(make, chunk) for chunk in chunks[: loading.num_threads + 1])
        for chunk in [*chunks[loading.num_threads + 1 :], *([None] * len(ahead))]:
            batch = ahead.popleft().result()
            if chunk is not None:
                ahead.append(pool.submit(make, chunk))
            yield batch
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


def _make(dataset: Dataset, prepare: Prepare, indices: Sequence[int]) -> Batch:
    images, labels, names, left_out = [], [], [], []
    for index in indices:
        try:
            images.append(prepare(dataset.image(index), index))
        except ImageError as error:
            left_out.append(f"{dataset.name(index)}: left out, {error}")
            continue
        labels.append(dataset.labels[index])
        names.append(dataset.name(index))
    pixels = stack(images) if images else zeros((0, 3, 1, 1), dtype=uint8)
    return Batch(pixels, tensor(labels, dtype=int64), tuple(names), tuple(left_out))
