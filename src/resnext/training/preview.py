"""What training images look like to the network: a few of them, varied as the first epochs vary images."""

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from itertools import chain, islice

import numpy as np
from numpy.typing import NDArray

from resnext.data.dataset import DataError, Dataset
from resnext.data.loader import Batch
from resnext.data.network_input import network_input
from resnext.data.sample import Held, stream_sample
from resnext.data.stream import Stream
from resnext.data.views import Selected
from resnext.imaging.decode import ImageError
from resnext.report.sheet import SheetRow
from resnext.spec.preprocessing import Preprocessing
from resnext.training.machine import Machine
from resnext.training.rehearsal import rehearsal
from resnext.training.task import Task
from resnext.training.world import World

_NUM_IMAGES, _NUM_VARIANTS = 8, 7
_NUM_HELD = 32  # of a stream, to choose from


def preview(task: Task) -> list[SheetRow]:
    """Return some training images, of as many classes as can be, each with variants that the network would see.

    The variants are what `network_input` gives, in colours that can be shown; images and labels are not mixed.
    Of a stream only some images are looked at, from the beginnings of shards.
    Raises `DataError` where fewer than two images can be read.
    """
    split, names = task.data.split("train"), task.data.class_names
    train = Held(stream_sample(split, _NUM_HELD)) if isinstance(split, Stream) else split
    indices = list(islice(_readable(train), _NUM_IMAGES))
    if len(indices) < 2:
        raise DataError(f"{task.data.source}: fewer than 2 training images can be read, so that none can be shown")
    data = replace(task.data, splits={**task.data.splits, "train": Selected(train, indices)})
    recipe = task.recipe.replace(
        batch_size=len(indices), batch_norm_images=None, sampling="shuffled", class_weights=None
    )
    variants: dict[str, list[NDArray[np.uint8]]] = defaultdict(list)
    with rehearsal(replace(task, data=data, recipe=recipe), Machine(device="cpu", num_threads=0), World()) as run:
        course = run.course()
        for batch in chain.from_iterable(course.batches(epoch, 0) for epoch in range(1, _NUM_VARIANTS + 1)):
            for name, shown in zip(batch.names, _shown(batch, recipe.training_preprocessing()), strict=True):
                variants[name].append(shown)
    return [
        SheetRow(title=names[train.labels[index]], original=train.image(index), variants=variants[train.name(index)])
        for index in indices
    ]


def _readable(dataset: Dataset) -> Iterator[int]:
    """Yield the indices of images that can be read, one of each class, then a second of each, and so on."""
    by_class: dict[int, list[int]] = defaultdict(list)
    for index, label in enumerate(dataset.labels):
        by_class[label].append(index)
    left = [filter(partial(_can_be_read, dataset), by_class[label]) for label in sorted(by_class)]
    while left:
        for of_class in list(left):
            found = next(of_class, None)
            if found is None:
                left.remove(of_class)
            else:
                yield found


def _can_be_read(dataset: Dataset, index: int) -> bool:
    try:
        dataset.image(index)
    except ImageError:
        return False
    return True


def _shown(batch: Batch, preprocessing: Preprocessing) -> NDArray[np.uint8]:
    """Return the network's input as bytes, (batch, height, width, 3), what is beyond black and white cut off."""
    values = network_input(batch, preprocessing).permute(0, 2, 3, 1)
    mean, std = values.new_tensor(preprocessing.mean), values.new_tensor(preprocessing.std)
    return np.asarray((values * std + mean).clamp(0, 1).mul(255).round().byte())
