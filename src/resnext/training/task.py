"""What is to be learnt: data, a resolved recipe and a seed."""

from collections import Counter
from dataclasses import dataclass

from resnext.artefact.adapters import load_weights
from resnext.artefact.weights import Weights
from resnext.data.dataset import Data, DataError
from resnext.data.facts import shorter_side
from resnext.data.stream import Stream
from resnext.imaging.jpeg import is_installed
from resnext.model.network import Network
from resnext.spec.facts import Choice, Facts, Start
from resnext.spec.recipe import Recipe, chosen
from resnext.spec.resolve import resolve
from resnext.spec.start import check_start
from resnext.training.machine import Machine, num_cores
from resnext.training.schedule import Horizon

_MIN_TRAINING_IMAGES = 2


@dataclass(frozen=True, kw_only=True)
class Task:
    """What is to be learnt: opened data, a resolved recipe and a seed; and the weights to start from, if any.

    `choices` are what resolving the recipe chose.

    Raises `DataError` on too few images or without the extra that fast decoding needs, `SpecError` on a recipe that is
    not resolved or names other weights, `ValueError` on a negative seed.
    """

    data: Data
    recipe: Recipe
    seed: int = 0
    choices: tuple[Choice, ...] = ()
    weights: Weights | None = None

    def __post_init__(self) -> None:
        num_images = len(self.data.split("train").labels)
        if num_images < _MIN_TRAINING_IMAGES:
            raise DataError(f"{self.data.source} has {num_images} training image; at least 2 are needed")
        if self.data.selection not in self.data.splits:
            raise DataError(f"{self.data.source} has too few images to hold some out; give at least three of a class")
        if self.recipe.sampling == "balanced" and isinstance(self.data.split("train"), Stream):
            raise DataError(
                f"sampling = 'balanced': {self.data.source} is a stream, read as it is stored; set class_weights,"
                " or unpack it"
            )
        if not self.remembers_images and not is_installed():
            raise DataError("augmentation.decoding = 'fast': needs simplejpeg; pip install 'resnext[fast]'")
        if self.seed < 0:
            raise ValueError(f"seed = {self.seed}: a whole number from 0 on")
        self.recipe.digest()
        check_start(self.recipe, self.start)

    @property
    def start(self) -> Start | None:
        """The weights to start from, as far as a recipe adapts to them."""
        return start_of(self.weights, self.data)

    @property
    def remembers_images(self) -> bool:
        """Whether decoded training images are kept for later epochs: not where each crop decodes its own part."""
        return self.recipe.augmentation.decoding == "exact"

    def begin(self, network: Network) -> None:
        """Put the weights to start from into a network; its head stays where the classes are not the same."""
        if self.weights is not None and self.start is not None:
            load_weights(network, self.weights.tensors, replace_head=not self.start.keeps_head)

    @property
    def horizon(self) -> Horizon:
        """How long the run is; an incomplete last batch of an epoch is dropped unless it is the only one."""
        num_steps = len(self.data.split("train").labels) // chosen(self.recipe.batch_size, "batch_size")
        return Horizon(chosen(self.recipe.epochs, "epochs"), max(1, num_steps))


def start_of(weights: Weights | None, data: Data) -> Start | None:
    """Return what a recipe adapts to of weights, on data whose classes may be those of the weights."""
    if weights is None:
        return None
    return Start(
        origin=weights.origin,
        digest=weights.digest,
        architecture=weights.architecture,
        preprocessing=weights.preprocessing,
        keeps_head=weights.class_names == data.class_names,
    )


def adapt(
    recipe: Recipe, data: Data, machine: Machine, weights: Weights | None = None
) -> tuple[Recipe, tuple[Choice, ...]]:
    """Resolve a recipe for opened data on a machine, from weights if any, and say what was chosen and why."""
    labels = data.split("train").labels
    counts = Counter(labels)
    facts = Facts(
        num_images=len(labels),
        num_classes=len(data.class_names),
        shorter_side=shorter_side(data),
        is_handwriting=data.is_handwriting,
        num_cores=num_cores(),
        has_gpu=machine.torch_device().type != "cpu",
        colour_mean=data.colour_mean,
        colour_std=data.colour_std,
        num_held_out=len(data.splits[data.selection].labels) if data.selection in data.splits else 0,
        class_counts={name: counts[label] for label, name in enumerate(data.class_names)},
        start=start_of(weights, data),
    )
    return resolve(recipe, facts)
