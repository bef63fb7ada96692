"""The base of every spec: a frozen value that validates itself and explains what is wrong with it."""

import hashlib
import json
import tomllib
from typing import Any, Self

import tomli_w
from pydantic import BaseModel, ConfigDict, ValidationError


class SpecError(ValueError):
    """A field of a spec holds a value that it may not hold; the message names field, value and what is allowed."""


class Spec(BaseModel):
    """A frozen, keyword-only value, equal by content, that rejects unknown keys and converts to JSON and TOML."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True, allow_inf_nan=False)

    def __init__(self, /, **fields: Any) -> None:
        try:
            super().__init__(**fields)
        except ValidationError as error:
            raise SpecError(_sentence(error, type(self))) from None

    @classmethod
    def from_toml(cls, text: str) -> Self:
        """Read a spec from TOML. Raises `SpecError` on bad syntax, an unknown key or an illegal value."""
        try:
            fields = tomllib.loads(text)
        except (ValueError, RecursionError) as error:
            raise SpecError(f"not valid TOML: {error}") from None
        return cls(**fields)

    def to_toml(self) -> str:
        """Write the spec as TOML; a field that is None is left out, and absent means None when it is read."""
        return tomli_w.dumps(self.model_dump(mode="json", exclude_none=True))

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Read a spec from JSON. Raises `SpecError` on bad syntax, an unknown key or an illegal value."""
        try:
            fields = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise SpecError(f"not valid JSON: {error}") from None
        if not isinstance(fields, dict):
            raise SpecError(f"a {cls.__name__.lower()} is a JSON object, not {type(fields).__name__}")
        return cls(**fields)

    def to_json(self) -> str:
        """Write the spec as canonical JSON: sorted keys, no white space."""
        return canonical_json(self.model_dump(mode="json"))

    def replace(self, **changes: Any) -> Self:
        """Return a copy with some fields changed, validated like any other value."""
        return type(self)(**{**self.model_dump(), **changes})

    def digest(self) -> str:
        """Return the SHA-256 of the canonical JSON: equal values have equal digests."""
        return digest_of_json(self.model_dump(mode="json"))


def canonical_json(fields: dict[str, Any]) -> str:
    """Write fields as JSON with sorted keys and no white space, so that equal fields give equal text."""
    return json.dumps(fields, sort_keys=True, separators=(",", ":"))


def digest_of_json(fields: dict[str, Any]) -> str:
    """Return the SHA-256 of fields as canonical JSON."""
    return hashlib.sha256(canonical_json(fields).encode()).hexdigest()


def _sentence(error: ValidationError, owner: type[BaseModel]) -> str:
    """Turn pydantic's report into one clause a field: `field = value: what is wrong`, alternatives joined by "or"."""
    reasons: dict[str, list[str]] = {}
    problems = error.errors(include_url=False)
    inside = {problem["loc"][:-1] for problem in problems if len(problem["loc"]) > 1}
    for problem in problems:
        if problem["loc"] in inside:  # a list that lost its bad items is not also too short
            continue
        # Names after the first are pydantic's words for the branches of a union.
        field = ".".join(str(part) for i, part in enumerate(problem["loc"]) if i == 0 or isinstance(part, int))
        cause = problem.get("ctx", {}).get("error")
        if problem["type"] == "extra_forbidden":
            reasons[f"unknown field {field!r}"] = [f"the fields are {', '.join(owner.model_fields)}"]
        elif problem["type"] == "missing":
            reasons[f"{field} is missing"] = []
        elif isinstance(cause, SpecError):
            reasons.setdefault(field, []).append(str(cause))
        else:
            message = problem["msg"].removeprefix("Value error, ")
            reasons.setdefault(f"{field} = {problem['input']!r}", []).append(f"{message[0].lower()}{message[1:]}")
    return "; ".join(": ".join(filter(None, (subject, ", or ".join(said)))) for subject, said in reasons.items())
