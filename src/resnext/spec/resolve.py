"""How a recipe that says "auto" adapts to the data, the machine and the weights that it starts from."""

from collections.abc import Mapping
from typing import Any

from resnext.spec.balance import check_class_names
from resnext.spec.choices import CHOOSERS
from resnext.spec.facts import Choice, Facts
from resnext.spec.recipe import Recipe, chosen
from resnext.spec.start import check_start, started_from
from resnext.spec.value import SpecError

RGB = 3


def resolve(recipe: Recipe, facts: Facts) -> tuple[Recipe, tuple[Choice, ...]]:
    """Replace every "auto" of a recipe, give the network the data's classes, and say what was chosen and why.

    Raises `SpecError` where the recipe wants other classes than the data has, or weighs others, or wants other channels
    than RGB, or another start or network than the weights to start from.
    """
    check_start(recipe, facts.start)
    choices: list[Choice] = []
    for choose in CHOOSERS:
        for choice in choose(recipe, facts):
            recipe = _with(recipe, choice)
            choices.append(choice)
    network = {**recipe.architecture, "num_classes": facts.num_classes}
    _check_network(recipe.architecture, facts)
    if facts.class_counts:
        check_class_names(chosen(recipe.class_weights, "class_weights"), facts.class_counts)
    return started_from(facts.start, recipe.replace(architecture=network)), tuple(choices)


def _check_network(departures: Mapping[str, Any], facts: Facts) -> None:
    if departures.get("num_classes", facts.num_classes) != facts.num_classes:
        wanted = departures["num_classes"]
        raise SpecError(f"architecture.num_classes = {wanted}: the data has {facts.num_classes}; leave the field out")
    if departures.get("input_channels", RGB) != RGB:
        raise SpecError(f"architecture.input_channels = {departures['input_channels']}: images are read as RGB, {RGB}")


def _with(recipe: Recipe, choice: Choice) -> Recipe:
    table, _, leaf = choice.field.rpartition(".")
    if not table:
        return recipe.replace(**{leaf: choice.value})
    return recipe.replace(**{table: {**recipe.model_dump()[table], leaf: choice.value}})
