"""What a training run is: everything that may change its accuracy, and nothing else.

A recipe may say `"auto"` where it should adapt to the data; `resolve` in `resnext.spec.resolve` replaces that by a
choice, and only a resolved recipe is digested. Device, threads, paths and the seed are not part of it.
"""

import tomllib
from collections.abc import Mapping
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Annotated, Any, Literal, Self, TypeVar

from pydantic import Field, field_validator, model_validator

from resnext.spec.architecture import Architecture, architecture
from resnext.spec.preprocessing import (
    IMAGENET_MEAN,
    IMAGENET_STD,
    MAX_SIDE,
    Colour,
    Interpolation,
    PositiveColour,
    Preprocessing,
    Side,
)
from resnext.spec.value import Spec, SpecError, digest_of_json

Auto = Literal["auto"]
AUTO: Auto = "auto"
SAME: Literal["same"] = "same"

_ANY_MODEL = "resnet50"  # stands in for a model still to be chosen, so that what departs from it is checked

T = TypeVar("T")

Count = Annotated[int, Field(strict=True, ge=1)]
BatchSize = Annotated[int, Field(strict=True, ge=2)]  # batch norm has no statistics of one image
NonNegative = Annotated[float, Field(ge=0)]
Strength = Annotated[float, Field(ge=0, le=1)]
Fraction = Annotated[float, Field(ge=0, lt=1)]


def chosen(value: T | Auto, field: str) -> T:
    """Return the value of a field of a resolved recipe. Raises `SpecError` where it is still to be chosen."""
    if value == AUTO:
        raise SpecError(f"{field} = 'auto': still to be chosen, by resolving the recipe with the facts of the data")
    return value


class ImageRecipe(Spec):
    """The network's input: `size` pixels square, cut from an image whose shorter side is size / `crop_fraction`.

    `train_size` is that of training images, "same" as `size` or smaller: random crops show objects larger than the
    central crop does, and a smaller input costs less (arXiv 1906.06423).
    `mean` and `std` are of RGB values in [0, 1]; "auto" takes what the source declares of its images, else ImageNet's.
    Where training starts from weights, "auto" takes theirs first. `interpolation` that is "auto" takes theirs too, else
    it is bicubic.
    """

    size: Side | Auto = AUTO
    train_size: Side | Auto | Literal["same"] = SAME
    crop_fraction: Annotated[float, Field(gt=0, le=1)] = 1.0
    interpolation: Interpolation | Auto = "bicubic"
    mean: Colour | Auto = IMAGENET_MEAN
    std: PositiveColour | Auto = IMAGENET_STD

    @model_validator(mode="after")
    def _the_whole_image_stays_in_bounds(self) -> Self:
        if self.size != AUTO and self.size / self.crop_fraction > MAX_SIDE:
            raise SpecError(f"crop_fraction = {self.crop_fraction}: resizes images to more than {MAX_SIDE} pixels")
        return self

    @model_validator(mode="after")
    def _training_images_are_no_larger(self) -> Self:
        if isinstance(self.size, int) and isinstance(self.train_size, int) and self.train_size > self.size:
            raise SpecError(f"train_size = {self.train_size}: at most size = {self.size}, or 'same'")
        return self


class Augmentation(Spec):
    """How training images are varied: cropped, turned, recoloured, flipped, shifted, erased.

    `random_resized` crops at least `min_area` of the image, of an aspect between 3/4 and 4/3 drawn as `aspect` says:
    `log_uniform`, or uniform with width and height swapped half the time, as the authors do. `shift` moves the
    normalised image by up to `max_shift` pixels, so that what comes in is the mean colour. `brightness`, `contrast`
    and `saturation` scale by up to 1 plus or minus the strength; `lighting` is the standard deviation of noise along
    the principal components of ImageNet's colours. `policy` "trivial" makes one change of the fourteen of
    TrivialAugment (arXiv 2103.10158), of a random strength. `erasing` is the probability that a rectangle is made the
    mean colour (arXiv 1708.04896). `decoding` "fast" decodes a JPEG no larger than its crop needs.
    """

    crop: Literal["random_resized", "shift", "none"] | Auto = AUTO
    min_area: Annotated[float, Field(gt=0, le=1)] | Auto = 0.5
    aspect: Literal["log_uniform", "uniform_swapped"] = "log_uniform"
    max_shift: Annotated[int, Field(ge=0, le=512)] = 4
    max_rotation_degrees: Annotated[float, Field(ge=0, le=180)] | Auto = 0.0
    brightness: Strength = 0.0
    contrast: Strength = 0.0
    saturation: Strength = 0.0
    lighting: NonNegative = 0.0
    policy: Literal["none", "trivial"] | Auto = "none"
    flip: bool | Auto = AUTO
    erasing: Strength | Auto = 0.0
    decoding: Literal["exact", "fast"] = "exact"


class Mixing(Spec):
    """How training images are mixed in pairs, and their labels with them; 0 leaves a way out.

    Both are parameters of a symmetric Beta distribution: `mixup` blends two images (arXiv 1710.09412), `cutmix` puts a
    rectangle of one into the other (arXiv 1905.04899). With both, each batch is mixed in one of the ways, by a coin.
    """

    mixup: NonNegative | Auto = 0.0
    cutmix: NonNegative | Auto = 0.0


class Optimiser(Spec):
    """SGD with momentum; `decays` says whether all parameters decay, as in the paper, or weights alone.

    `learning_rate`, the peak of the schedule, belongs to the global batch: to the recipe's `batch_size`, over however
    many devices and passes that is spread, and not to the share of one device.
    """

    learning_rate: Annotated[float, Field(gt=0)] | Auto = AUTO
    momentum: Fraction = 0.9
    nesterov: bool = True
    weight_decay: NonNegative = 1e-4
    decays: Literal["all", "weights"] = "all"


class Schedule(Spec):
    """The learning rate over a run: linear warm-up, then a cosine to zero or a drop by `factor` after milestones.

    `warmup_epochs` may be a fraction; `milestones` are the epochs, counted from 1, after whose end the rate drops.
    """

    kind: Literal["cosine", "step"] = "cosine"
    warmup_epochs: NonNegative | Auto = 0.0
    milestones: tuple[Count, ...] = ()
    factor: Annotated[float, Field(gt=0, lt=1)] = 0.1


class FineTuning(Spec):
    """How training starts from weights that were trained before, rather than from random ones.

    `weights` is the SHA-256 of those weights, None for random ones. For the first `frozen_epochs` the head alone is
    trained, with the statistics of batch norm as they came. A layer's rate is multiplied by `layer_decay` once for each
    step from the head down to it: once in the last stage, most often in the stem.
    """

    weights: str | None = None
    frozen_epochs: Annotated[int, Field(strict=True, ge=0)] | Auto = 0
    layer_decay: Annotated[float, Field(gt=0, le=1)] = 1.0


class Recipe(Spec):
    """A training run: a network, how it sees images, how it is optimised and for how long.

    `model` is a name of the grammar of `resnext.architecture`; `architecture` holds what differs from that name.
    `batch_size` counts the images of one step on all devices together. `batch_norm_images` of them share statistics of
    batch norm, all where it is None. `average_decay` is the decay a step of a moving average of the weights, if any.
    `class_weights` weigh the losses of classes by name, 1 where it has none; "auto" weighs every class alike in all.
    `sampling` "balanced" shows every class equally often, not every image once. `selection` says which epoch is best.
    """

    name: str
    model: str = AUTO
    architecture: dict[str, Any] = Field(default_factory=dict)
    epochs: Count | Auto = AUTO
    batch_size: BatchSize | Auto = AUTO
    batch_norm_images: BatchSize | None = None
    average_decay: Fraction | Auto | None = None
    label_smoothing: Fraction = 0.0
    class_weights: dict[str, Annotated[float, Field(gt=0)]] | Auto | None = None
    sampling: Literal["shuffled", "balanced"] = "shuffled"
    selection: Literal["lowest_error", "last"] | Auto = "lowest_error"
    image: ImageRecipe = ImageRecipe()
    augmentation: Augmentation = Augmentation()
    mixing: Mixing = Mixing()
    optimiser: Optimiser = Optimiser()
    schedule: Schedule = Schedule()
    fine_tuning: FineTuning = FineTuning()

    @field_validator("architecture")
    @classmethod
    def _known_departures(cls, departures: dict[str, Any]) -> dict[str, Any]:
        for key in sorted(departures.keys() - Architecture.model_fields):
            raise SpecError(f"unknown field {key!r}; the fields are {', '.join(Architecture.model_fields)}")
        return departures

    @model_validator(mode="after")
    def _the_network_exists(self) -> Self:
        architecture(_ANY_MODEL if self.model == AUTO else self.model, **self.architecture)
        return self

    @model_validator(mode="after")
    def _the_batch_is_whole_groups(self) -> Self:
        if self.batch_norm_images is None or self.batch_size == AUTO or self.batch_size % self.batch_norm_images == 0:
            return self
        raise SpecError(
            f"batch_norm_images = {self.batch_norm_images}: batch_size = {self.batch_size} is no multiple of it; every"
            " group of a batch that shares statistics needs the same number of images"
        )

    @model_validator(mode="after")
    def _classes_are_balanced_once(self) -> Self:
        if self.class_weights != AUTO or self.sampling != "balanced":
            return self
        raise SpecError("class_weights = 'auto', sampling = 'balanced': each makes classes count alike; leave one out")

    @property
    def is_resolved(self) -> bool:
        """Whether nothing is left to choose."""
        return not any(_is_open(value) for value in self.model_dump().values())

    def network(self) -> Architecture:
        """Return the architecture. Raises `SpecError` while the model is still to be chosen."""
        return architecture(chosen(self.model, "model"), **self.architecture)

    def preprocessing(self) -> Preprocessing:
        """Return how images are seen at evaluation. Raises `SpecError` while size or colours are still to be chosen."""
        return self._seen_at(chosen(self.image.size, "image.size"))

    def training_preprocessing(self) -> Preprocessing:
        """Return how images are seen in training, before they are varied: as at evaluation, at `image.train_size`.

        Raises `SpecError` while that, or colours, are still to be chosen.
        """
        size: int | Literal["same"] = chosen(self.image.train_size, "image.train_size")
        return self.preprocessing() if size == SAME else self._seen_at(size)

    def _seen_at(self, size: int) -> Preprocessing:
        return Preprocessing(
            image_size=size,
            resize_size=round(size / self.image.crop_fraction),
            interpolation=chosen(self.image.interpolation, "image.interpolation"),
            mean=chosen(self.image.mean, "image.mean"),
            std=chosen(self.image.std, "image.std"),
        )

    def digest(self) -> str:
        """Return the SHA-256 of everything but names, that of the recipe and that under which the network goes.

        Raises `SpecError` while something is left to choose.
        """
        if not self.is_resolved:
            raise SpecError(f"recipe {self.name!r} still has fields that say 'auto'; only a resolved one has a digest")
        fields = self.model_dump(mode="json", exclude={"name", "model", "architecture"})
        if self.augmentation.decoding == "exact":  # as every run did before there was a choice; their digests hold
            del fields["augmentation"]["decoding"]
        return digest_of_json({**fields, "network": self.network().model_dump(mode="json")})


def _is_open(value: Any) -> bool:
    return any(map(_is_open, value.values())) if isinstance(value, Mapping) else bool(value == AUTO)


def recipe_names() -> list[str]:
    """Return the names of the recipes that come with the package."""
    return sorted(path.name.removesuffix(".toml") for path in _packaged().iterdir() if path.name.endswith(".toml"))


def read_recipe(name_or_path: str, overrides: Mapping[str, Any] | None = None) -> Recipe:
    """Read a recipe by name or from a TOML file, with `overrides` put over its (nested) fields.

    Raises `SpecError` where there is no such recipe, the TOML is broken or a field is unknown or illegal.
    """
    try:
        fields = tomllib.loads(_recipe_text(name_or_path))
        return Recipe(**_merged(fields, overrides or {}))
    except tomllib.TOMLDecodeError as error:
        raise SpecError(f"recipe {name_or_path}: not valid TOML: {error}") from None
    except SpecError as error:
        raise SpecError(f"recipe {name_or_path}: {error}") from None


def _recipe_text(name_or_path: str) -> str:
    path = Path(name_or_path).expanduser()
    if path.suffix == ".toml":
        try:
            return path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise SpecError(f"cannot be read: {error}") from None
    if name_or_path not in recipe_names():
        raise SpecError(f"there is none of that name; there are {', '.join(recipe_names())}, or give a .toml file")
    return (_packaged() / f"{name_or_path}.toml").read_text(encoding="utf-8")


def _packaged() -> Traversable:
    return resources.files("resnext.spec") / "recipes"


def _merged(fields: Mapping[str, Any], overrides: Mapping[str, Any]) -> dict[str, Any]:
    result = dict(fields)
    for key, value in overrides.items():
        is_table = isinstance(value, Mapping) and isinstance(result.get(key, {}), Mapping)
        result[key] = _merged(result.get(key, {}), value) if is_table else value
    return result
