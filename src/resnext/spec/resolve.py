"""How a recipe that says "auto" adapts to the data and the machine: from counts alone, never from a clock."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from resnext.spec.recipe import AUTO, Recipe

MAX_IMAGE_SIZE = 224


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What a recipe adapts to; sizes are medians of the shorter side in pixels."""

    num_images: int
    num_classes: int
    shorter_side: int
    is_mirrored_alike: bool
    num_cores: int
    has_gpu: bool


@dataclass(frozen=True, slots=True)
class Choice:
    """One field that was left to choose, what was chosen, and why."""

    field: str
    value: Any
    why: str


def resolve(recipe: Recipe, facts: Facts) -> tuple[Recipe, tuple[Choice, ...]]:
    """Replace every "auto" of a recipe, give the network the data's classes, and say what was chosen and why."""
    choices: list[Choice] = []
    for choose in (_image_size, _model, _batch_size, _epochs, _crop, _flip):
        for choice in choose(recipe, facts):
            recipe = _with(recipe, choice)
            choices.append(choice)
    network = {**recipe.architecture, "num_classes": facts.num_classes}
    return recipe.replace(architecture=network), tuple(choices)


def _with(recipe: Recipe, choice: Choice) -> Recipe:
    table, _, leaf = choice.field.rpartition(".")
    if not table:
        return recipe.replace(**{leaf: choice.value})
    return recipe.replace(**{table: {**recipe.model_dump()[table], leaf: choice.value}})


def _image_size(recipe: Recipe, facts: Facts) -> Iterator[Choice]:
    if recipe.image.size != AUTO:
        return
    side = facts.shorter_side
    if side <= 32:
        yield Choice("image.size", 32, f"the images are {side} pixels or so on their shorter side")
    elif facts.has_gpu:
        size = min(MAX_IMAGE_SIZE, 32 * max(1, side // 32))
        yield Choice("image.size", size, f"the images have {side} pixels on their shorter side, and there is a GPU")
    else:
        size = min(64, 32 * max(1, side // 32))
        yield Choice("image.size", size, f"{side} pixels are there, and training is on {facts.num_cores} cores")


def _model(recipe: Recipe, facts: Facts) -> Iterator[Choice]:
    if recipe.model != AUTO:
        return
    yield Choice("model", "resnext20_8x4d", "TODO")
    yield Choice("architecture", {"base_channels": 32, **recipe.architecture}, "TODO")


def _batch_size(recipe: Recipe, facts: Facts) -> Iterator[Choice]:
    if recipe.batch_size != AUTO:
        return
    yield Choice("batch_size", 64, "TODO")


def _epochs(recipe: Recipe, facts: Facts) -> Iterator[Choice]:
    if recipe.epochs != AUTO:
        return
    yield Choice("epochs", 30, "TODO")


def _crop(recipe: Recipe, facts: Facts) -> Iterator[Choice]:
    if recipe.augmentation.crop != AUTO:
        return
    yield Choice("augmentation.crop", "random_resized", "TODO")


def _flip(recipe: Recipe, facts: Facts) -> Iterator[Choice]:
    if recipe.augmentation.flip == AUTO:
        why = "a mirrored image keeps its class" if facts.is_mirrored_alike else "a mirrored image is another class"
        yield Choice("augmentation.flip", facts.is_mirrored_alike, why)
