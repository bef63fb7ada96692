"""The memory that a run would take, forecast from a few images, and what to change where there is not enough."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from statistics import fmean
from typing import Any

from resnext.data.dataset import Dataset
from resnext.data.sample import sample, stream_sample
from resnext.data.stream import Stream
from resnext.data.stream_feed import WINDOW
from resnext.data.views import MAX_REMEMBERED_BYTES, remembered_bytes
from resnext.imaging.decode import ImageError
from resnext.spec.complexity import complexity
from resnext.spec.preprocessing import Preprocessing
from resnext.spec.recipe import chosen
from resnext.training.layout import check_layout
from resnext.training.machine import Machine
from resnext.training.memory import capacity, in_words, resident_bytes
from resnext.training.rehearsal import Saved, saved_for_backward
from resnext.training.task import Task
from resnext.training.world import World

_FEW, _MORE = 2, 4
_SAMPLE = 16
_RGB = 3
_WORKING_FRACTION = 0.15  # of activations: maps in the making, their gradients, holes in the heap; measured 4 to 30 %
_ROOM_BYTES = 150_000_000  # what libraries load and compile when they first compute
_MAPS_IN_SCORING = 4  # of the largest: what a block adds, what enters a layer, and what leaves it before and after norm


@dataclass(frozen=True, slots=True, kw_only=True)
class Footprint:
    """The memory of one process of a run, in bytes, on its device.

    What autograd keeps for a backward pass is `fixed_bytes`, and `image_bytes` for each of the `num_images` computed at
    a time. `scoring_bytes` is what a batch to score takes while nothing is kept. `process_bytes` is what the process
    holds before, `loading_bytes` what images take that are loaded, remembered or, of a stream, waiting in its shuffle
    window, and `writing_bytes` a checkpoint before it is on the disk; all three are 0 on a GPU, where they are not.
    `available_bytes` is what the run may have, with what the process holds, of the `total_bytes` there are.
    """

    weights_bytes: int
    gradients_bytes: int
    momentum_bytes: int
    average_bytes: int
    fixed_bytes: int
    image_bytes: int
    num_images: int
    scoring_bytes: int
    loading_bytes: int
    writing_bytes: int
    process_bytes: int
    total_bytes: int
    available_bytes: int

    @property
    def activations_bytes(self) -> int:
        """What autograd keeps at a time."""
        return self.fixed_bytes + self.num_images * self.image_bytes

    @property
    def state_bytes(self) -> int:
        """What training keeps from step to step: weights, momentum and average."""
        return self.weights_bytes + self.momentum_bytes + self.average_bytes

    @property
    def peak_bytes(self) -> int:
        """All together at its most, with room to work in: a seventh of activations or so, and what libraries take.

        A checkpoint comes on top, because a process does not give back to the system all that passes freed.
        """
        working = max(int((1 + _WORKING_FRACTION) * self.activations_bytes), self.scoring_bytes)
        around = self.process_bytes + self.loading_bytes + self.writing_bytes + _ROOM_BYTES
        return around + self.state_bytes + self.gradients_bytes + working

    @property
    def fits(self) -> bool:
        """Whether the peak is within what is available."""
        return self.peak_bytes <= self.available_bytes

    def plain(self) -> dict[str, Any]:
        """Return the fields, and what follows from them, as JSON can hold them."""
        return {
            **asdict(self),
            "activations_bytes": self.activations_bytes,
            "peak_bytes": self.peak_bytes,
            "fits": self.fits,
        }


def measure_footprint(task: Task, machine: Machine, world: World) -> Footprint:
    """Take a step on two images and one on four, count what autograd keeps, and forecast the memory of the run."""
    check_layout(task, machine, world)
    device = world.device(machine.device)
    is_gpu = device.type == "cuda"
    process, room = (0 if is_gpu else resident_bytes()), capacity(device)
    few = saved_for_backward(task, machine, world, _FEW)
    more = saved_for_backward(task, machine, world, _MORE)
    slope = _slope(few, more)
    weights = complexity(task.recipe.network(), 1).params * machine.dtype.itemsize
    made = Footprint(
        weights_bytes=weights,
        gradients_bytes=weights,
        momentum_bytes=weights if task.recipe.optimiser.momentum else 0,
        average_bytes=0 if task.recipe.average_decay is None else weights,
        fixed_bytes=max(0, few.num_bytes - few.num_images * slope),
        image_bytes=slope,
        num_images=min(machine.micro_batch_size or _share(task, world), _share(task, world)),
        scoring_bytes=_scoring_bytes(task, machine),
        loading_bytes=0 if is_gpu else _loading_bytes(task, machine, world),
        writing_bytes=0,
        process_bytes=process,
        total_bytes=room.total_bytes,
        available_bytes=room.available_bytes + process,
    )
    return made if is_gpu else replace(made, writing_bytes=made.state_bytes)


def advice(footprint: Footprint, task: Task, world: World) -> str | None:
    """Say in a sentence what to change where memory will not suffice; None where it will."""
    if footprint.fits:
        return None
    short = (
        f"it will not fit: about {in_words(footprint.peak_bytes)} are needed, and"
        f" {in_words(footprint.available_bytes)} of {in_words(footprint.total_bytes)} are to be had"
    )
    group = task.recipe.batch_norm_images
    for num_images in _smaller_parts(footprint.num_images, group, _share(task, world)):
        smaller = replace(footprint, num_images=num_images)
        if smaller.fits:
            regroup = "" if group else f"--set batch_norm_images={num_images} "
            caution = "" if group else ", by a recipe whose batch norm takes its statistics from fewer images"
            return f"{short}; {regroup}--micro-batch {num_images} needs about {in_words(smaller.peak_bytes)}{caution}"
    return f"{short}; a smaller model, image.size, batch_size or batch_norm_images needs less"


def _smaller_parts(num_images: int, group: int | None, share: int) -> Iterator[int]:
    """Yield the smaller and smaller numbers of images that a process's share of a batch may be cut into."""
    while True:
        num_images //= 2
        if group is not None:
            num_images -= num_images % group
        if num_images < 2 or (group is None and share % num_images):
            return
        yield num_images


def _slope(few: Saved, more: Saved) -> int:
    """Return the bytes that each image adds; a data set may not have enough of them to see it."""
    if more.num_images == few.num_images:
        return few.num_bytes // few.num_images
    return (more.num_bytes - few.num_bytes) // (more.num_images - few.num_images)


def _share(task: Task, world: World) -> int:
    """Return how many images of a batch one process takes."""
    size = min(chosen(task.recipe.batch_size, "batch_size"), len(task.data.split("train").labels))
    return size // world.size


def _scoring_bytes(task: Task, machine: Machine) -> int:
    cost = complexity(task.recipe.network(), task.recipe.preprocessing().image_size)
    largest_map = max(layer.activations for layer in cost.layers) * machine.dtype.itemsize
    num_images = min(chosen(task.recipe.batch_size, "batch_size"), len(task.data.split(task.data.selection).labels))
    return num_images * _MAPS_IN_SCORING * largest_map


def _loading_bytes(task: Task, machine: Machine, world: World) -> int:
    """Return the memory of images kept, and of batches: the one computed, as numbers, and those made ahead."""
    train, num_ahead = task.data.split("train"), machine.num_loader_threads + 2
    if isinstance(train, Stream):
        kept = _window_bytes(train, world)
    else:
        kept = min(MAX_REMEMBERED_BYTES, _decoded_bytes(train)) if task.remembers_images else 0
    return kept + _share(task, world) * _input_values(task.recipe.training_preprocessing()) * (
        machine.dtype.itemsize + num_ahead
    )


def _input_values(preprocessing: Preprocessing) -> int:
    return _RGB * preprocessing.image_size**2


def _window_bytes(stream: Stream, world: World) -> int:
    """Return the memory of the encoded images in the shuffle window of one process, estimated from a sample."""
    num_bytes = fmean(len(picture.content) for picture in stream_sample(stream, _SAMPLE))
    return round(min(WINDOW, len(stream.labels) // world.size) * num_bytes)


def remembered_fraction(train: Dataset | Stream) -> float:
    """Return which part of a training set stays decoded after the first epoch, estimated from a sample.

    Of a stream nothing does.
    """
    if isinstance(train, Stream):
        return 0.0
    return min(1.0, MAX_REMEMBERED_BYTES / max(1, _decoded_bytes(train)))


def _decoded_bytes(dataset: Dataset) -> int:
    """Return the memory of all images decoded, estimated from some spread over the set."""
    sizes = []
    for picture in sample(dataset, _SAMPLE):
        try:
            sizes.append(remembered_bytes(picture.image()))
        except ImageError:
            continue
    return round(len(dataset.labels) * fmean(sizes)) if sizes else 0
