"""A user's own sweep: a recipe, axes along which it is varied, and what stays equal, as a TOML file.

    recipe = "quick"
    like = "resnet50"                 # a block costs what it does there: d is solved for each cardinality (Eq. 4)

    [set]
    epochs = 20

    [axes]
    cardinality = [1, 2, 4, 8, 32]
    "optimiser.learning_rate" = [0.05, 0.1]

The study is called after the file. Axes are `cardinality`, `depth`, `width`, `form`, and any field of a recipe by its
dotted name; every combination is a setting.
"""

import math
from collections.abc import Mapping
from itertools import product
from pathlib import Path
from typing import Any

from pydantic import Field

from resnext.spec.architecture import architecture
from resnext.spec.complexity import solve_width
from resnext.spec.override import nested
from resnext.spec.recipe import AUTO, Recipe, read_recipe
from resnext.spec.value import Spec, SpecError
from resnext.study.design import OWN, Setting, Study, difference

_MOST_SETTINGS = 1000
_NETWORK_AXES = ("depth", "cardinality", "width")
_SAID_BY_NAMES = {"model", "architecture.stage_depths", "architecture.cardinality", "architecture.base_width"}


class Sweep(Spec):
    """What a sweep file says; see the module.

    `model` is the network that the axes vary; where it is left out, `like`, else that of the recipe.
    """

    recipe: str = "quick"
    model: str | None = None
    like: str | None = None
    title: str | None = None
    question: str = "Which of these settings errs least?"
    set: dict[str, Any] = Field(default_factory=dict)
    axes: dict[str, Any]


def read_sweep(path: Path) -> Study:
    """Read a sweep as a study. Raises `SpecError` where the file says something that cannot be trained."""
    try:
        text = path.read_text(encoding="utf-8")
        return study_of_sweep(path.stem, Sweep.from_toml(text)).replace(sweep=text)
    except (OSError, UnicodeDecodeError) as error:
        raise SpecError(f"{path} cannot be read: {error}") from None
    except SpecError as error:
        raise SpecError(f"{path}: {error}") from None


def study_of_sweep(name: str, sweep: Sweep) -> Study:
    """Return the study of a sweep: a setting for each combination, and a contrast of each with the first."""
    axes = _axes(sweep)
    settings = [_setting(sweep, dict(zip(axes, values, strict=True))) for values in product(*axes.values())]
    first, *others = [setting.name for setting in settings]
    return Study(
        name=name,
        scale=OWN,
        title=sweep.title or f"{len(settings)} settings of {', '.join(axes)}",
        question=sweep.question,
        claim="",
        data="DATA",
        is_proxy=False,
        settings=settings,
        contrasts=[difference(other, first, expects=None, decides=False) for other in others],
    )


def _axes(sweep: Sweep) -> dict[str, list[Any]]:
    """Return the axes. Raises `SpecError` where there are none, they contradict, or make too many settings."""
    axes = _flat(sweep.axes)
    for axis, values in axes.items():
        if not isinstance(values, list) or not values:
            raise SpecError(f"axes.{axis} = {values!r}: a list of values is needed, as in cardinality = [1, 32]")
    if not axes:
        raise SpecError("axes = {}: at least one is needed, as in cardinality = [1, 32]")
    for axis in _NETWORK_AXES:
        if wrong := [value for value in axes.get(axis, []) if type(value) is not int or value < 1]:
            raise SpecError(f"axes.{axis}: {wrong[0]!r} is no whole number from 1 on")
    varied = {*axes, *_flat(sweep.set)}
    is_named = sweep.model is not None or sweep.like is not None or not varied.isdisjoint(_NETWORK_AXES)
    if is_named and (twice := varied & _SAID_BY_NAMES):
        raise SpecError(f"{min(twice)}: model, like or the axes {', '.join(_NETWORK_AXES)} name the network already")
    if sweep.like is not None and "width" in axes:
        raise SpecError(
            f"axes.width: like = {sweep.like!r} already solves the width of each cardinality; leave one out"
        )
    if (num_settings := math.prod(map(len, axes.values()))) > _MOST_SETTINGS:
        raise SpecError(f"axes: {num_settings:,} settings are more than the {_MOST_SETTINGS:,} of one sweep")
    return axes


def _setting(sweep: Sweep, values: Mapping[str, Any]) -> Setting:
    recipe = read_recipe(sweep.recipe, nested({**_flat(sweep.set), **_recipe_fields(values)}))
    network = _network(sweep, recipe, values)
    return Setting(
        name=", ".join(f"{axis.rpartition('.')[2]} {value}" for axis, value in values.items()),
        recipe=recipe.replace(model=network) if network else recipe,
        form=values.get("form", "grouped"),
    )


def _network(sweep: Sweep, recipe: Recipe, values: Mapping[str, Any]) -> str | None:
    """Return the name of the network of a setting; None where it is left to the recipe."""
    given = sweep.model or sweep.like or recipe.model
    if not any(axis in values for axis in _NETWORK_AXES) and sweep.model is None and sweep.like is None:
        return None
    if given == AUTO:
        raise SpecError(f"recipe {sweep.recipe!r} leaves the model open; name the one that the axes vary: model = ...")
    base = architecture(given, **recipe.architecture)
    depth, cardinality = values.get("depth", base.depth), values.get("cardinality", base.cardinality)
    width = values.get("width", base.base_width)
    if sweep.like is not None:
        width = solve_width(cardinality=cardinality, like=architecture(sweep.like, **recipe.architecture))
    name = f"{'resnet' if cardinality == 1 else 'resnext'}{depth}_{cardinality}x{width}d"
    return architecture(name, **recipe.architecture).name


def _recipe_fields(values: Mapping[str, Any]) -> dict[str, Any]:
    return {axis: value for axis, value in values.items() if axis not in (*_NETWORK_AXES, "form")}


def _flat(fields: Mapping[str, Any], before: str = "") -> dict[str, Any]:
    """Return nested fields by dotted names."""
    flat: dict[str, Any] = {}
    for name, value in fields.items():
        flat |= _flat(value, f"{before}{name}.") if isinstance(value, Mapping) else {f"{before}{name}": value}
    return flat
