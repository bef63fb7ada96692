"""`--set key=value`: one field of a recipe changed from the command line, typed and checked against the schema."""

import tomllib
from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from typing import Any

from pydantic import BaseModel

from resnext.spec.architecture import Architecture
from resnext.spec.recipe import Recipe
from resnext.spec.value import SpecError


def parse_overrides(assignments: Iterable[str]) -> dict[str, Any]:
    """Turn `optimiser.learning_rate=0.05` and the like into nested fields for `read_recipe`.

    A value is read as TOML where it is TOML (numbers, true, lists), else as text. Raises `SpecError` where an
    assignment has no `=` or its key is unknown, naming the nearest key there is.
    """
    values = {}
    for assignment in assignments:
        key, separator, text = assignment.partition("=")
        if not separator:
            raise SpecError(f"{assignment!r}: write key=value, for example epochs=20")
        values[key.strip()] = _value(text.strip())
    return nested(values)


def nested(values: Mapping[str, Any]) -> dict[str, Any]:
    """Turn values by dotted names of a recipe's fields into nested fields for `read_recipe`.

    Raises `SpecError` where a name is unknown, with the nearest that there is.
    """
    fields: dict[str, Any] = {}
    for key, value in values.items():
        if key not in _KEYS:
            raise SpecError(f"unknown key {key!r}{_suggestion(key)}")
        *tables, leaf = key.split(".")
        table = fields
        for name in tables:
            table = table.setdefault(name, {})
        table[leaf] = value
    return fields


def _keys(model: type[BaseModel], prefix: str = "") -> Iterable[str]:
    for name, field in model.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            yield from _keys(field.annotation, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}"


_KEYS = sorted({*_keys(Recipe), *_keys(Architecture, "architecture.")} - {"architecture"})


def _suggestion(key: str) -> str:
    by_leaf = [known for known in _KEYS if known.rpartition(".")[2] == key.rpartition(".")[2]]
    nearest = by_leaf or get_close_matches(key, _KEYS, n=1, cutoff=0.4)
    return f"; did you mean {nearest[0]!r}?" if nearest else f"; the keys are {', '.join(_KEYS)}"


def _value(text: str) -> Any:
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text
