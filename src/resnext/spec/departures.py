"""Where a run departs from the paper's, said field by field, so that its numbers are not taken for the paper's."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from resnext.spec.recipe import AUTO, SAME, Recipe, chosen, read_recipe
from resnext.spec.value import SpecError

PAPER_RECIPES = {"imagenet": "paper-imagenet", "cifar": "paper-cifar"}

# The paper trains networks of many sizes, and the classes are the data's.
_ANY_NETWORK = {"stem", "stage_depths", "cardinality", "base_width", "num_classes"}

# Fields that mean something only where another has a certain value.
_MEANT_WHERE = {
    "augmentation.min_area": ("augmentation.crop", "random_resized"),
    "augmentation.aspect": ("augmentation.crop", "random_resized"),
    "augmentation.max_shift": ("augmentation.crop", "shift"),
    "schedule.milestones": ("schedule.kind", "step"),
    "schedule.factor": ("schedule.kind", "step"),
}


@dataclass(frozen=True, slots=True)
class Departure:
    """A field of a recipe that differs from the paper's, by its dotted name in TOML, and both values."""

    field: str
    paper: Any
    ours: Any


def departures(recipe: Recipe, paper: Recipe | None = None) -> tuple[Departure, ...]:
    """Return the fields in which a resolved recipe differs from the paper's for the stem of its network.

    `paper` stands for that recipe, for example resolved for the same data, so that the colours are compared too: a
    field of it that says "auto" is not. Nor are depth, cardinality, width and classes, which the paper varies, nor
    fields without a meaning in one of the recipes. `batch_norm_images` that is None counts as the whole batch.
    Raises `SpecError` where the recipe is not resolved.
    """
    if not recipe.is_resolved:
        raise SpecError(f"recipe {recipe.name!r} still has fields that say 'auto'; only a resolved one can be compared")
    theirs, ours = _fields(paper or _paper_recipe(recipe)), _fields(recipe)
    return tuple(
        Departure(field, value, ours[field])
        for field, value in theirs.items()
        if value not in (AUTO, ours[field]) and _is_meant(field, theirs) and _is_meant(field, ours)
    )


def rate_departure(recipe: Recipe) -> str | None:
    """Return a sentence where the peak learning rate is not in the paper's proportion to the global batch, else None.

    Raises `SpecError` where either is still to be chosen.
    """
    paper = _paper_recipe(recipe)
    batch, rate = _batch_and_rate(recipe)
    paper_batch, paper_rate = _batch_and_rate(paper)
    proportional = paper_rate * batch / paper_batch
    if math.isclose(rate, proportional, rel_tol=1e-9):
        return None
    return (
        f"optimiser.learning_rate = {rate:g} for a batch of {batch} departs from the paper's {paper_rate:g} for"
        f" {paper_batch} ({paper.name}); in proportion it would be {proportional:g}"
    )


def _paper_recipe(recipe: Recipe) -> Recipe:
    return read_recipe(PAPER_RECIPES[recipe.network().stem])


def _batch_and_rate(recipe: Recipe) -> tuple[int, float]:
    rate = chosen(recipe.optimiser.learning_rate, "optimiser.learning_rate")
    return chosen(recipe.batch_size, "batch_size"), rate


def _fields(recipe: Recipe) -> dict[str, Any]:
    """Return what is compared, by dotted names."""
    fields = recipe.model_dump(exclude={"name", "model", "architecture", "class_weights"})
    fields["batch_norm_images"] = recipe.batch_norm_images or recipe.batch_size
    fields["architecture"] = recipe.network().model_dump(exclude=_ANY_NETWORK)
    if fields["image"]["train_size"] == recipe.image.size:
        fields["image"] = {**fields["image"], "train_size": SAME}
    flat = {
        f"{name}.{leaf}" if leaf else name: value
        for name, content in fields.items()
        for leaf, value in (content.items() if isinstance(content, Mapping) else [("", content)])
    }
    return {**flat, "class_weights": recipe.class_weights}


def _is_meant(field: str, fields: Mapping[str, Any]) -> bool:
    if field not in _MEANT_WHERE:
        return True
    owner, value = _MEANT_WHERE[field]
    return bool(fields[owner] == value)
