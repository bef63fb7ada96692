"""What a recipe adapts to: facts of the data, of the machine and of the weights to start from; and what it chooses."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from resnext.spec.architecture import Architecture, architecture
from resnext.spec.preprocessing import Colour, Preprocessing
from resnext.spec.value import SpecError

_LEAST_IMAGENET_SIZE = 64  # below it, the ImageNet stem leaves a map of one pixel


@dataclass(frozen=True, slots=True, kw_only=True)
class Start:
    """Weights to start from: their name as given, their SHA-256, their network, and how it saw images, if known.

    `keeps_head` tells whether the classes have the same names, in the same order, so that the head serves as it is.
    """

    origin: str
    digest: str
    architecture: Architecture
    preprocessing: Preprocessing | None = None
    keeps_head: bool = False

    def model(self) -> tuple[str, dict[str, Any]]:
        """Return the network by a name of the grammar and by what departs from it; its classes are the data's."""
        try:
            named = architecture(self.architecture.name)
            name = named.name
        except SpecError:  # a depth of its own
            named, name = architecture("resnet50"), "resnet50"
        return name, {
            field: value
            for field, value in self.architecture.model_dump().items()
            if field != "num_classes" and value != getattr(named, field)
        }

    def image_size(self, affordable: int, *, has_gpu: bool) -> int:
        """Return the image size of the weights, or what the machine can afford where that is less."""
        own = affordable if self.preprocessing is None else self.preprocessing.image_size
        least = _LEAST_IMAGENET_SIZE if self.architecture.stem == "imagenet" else 1
        return own if has_gpu and self.preprocessing is not None else min(own, max(affordable, least))


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What a recipe adapts to: counts of the training split, and the median shorter side of its images in pixels.

    `colour_mean` and `colour_std`, of RGB in [0, 1], are what the source declares of its images, if anything.
    `class_counts` has the number of images of every class by its name; it is empty where they are not counted.
    `num_held_out` is the number of images on which epochs are compared. `start` is what training starts from, None for
    random weights.
    """

    num_images: int
    num_classes: int
    shorter_side: int
    is_handwriting: bool
    num_cores: int
    has_gpu: bool
    colour_mean: Colour | None = None
    colour_std: Colour | None = None
    class_counts: Mapping[str, int] = field(default_factory=dict)
    num_held_out: int = 0
    start: Start | None = None


@dataclass(frozen=True, slots=True)
class Choice:
    """One field that was left to choose, what was chosen, and why."""

    field: str
    value: Any
    why: str
