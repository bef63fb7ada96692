"""The folder of a run: the resolved recipe, an event log, and the best and the last artefact."""

import json
from datetime import UTC, datetime
from itertools import count
from pathlib import Path
from typing import Any

from resnext.artefact.manifest import Manifest
from resnext.artefact.store import SUFFIX, save_artefact, write_atomically
from resnext.model.network import Network
from resnext.spec.recipe import Recipe


class RunFolder:
    """A folder that belongs to one run alone.

    Raises `ValueError` where the path holds files already, or cannot be made.
    """

    def __init__(self, path: Path) -> None:
        try:
            path.mkdir(parents=True, exist_ok=True)
            if any(path.iterdir()):
                raise ValueError(f"{path} already holds files; give another folder, so that nothing is lost")
        except OSError as error:
            raise ValueError(f"{path} cannot be used as a run folder: {error.strerror}") from None
        self.path = path

    def artefact(self, name: str) -> Path:
        """Return the path of the artefact `best` or `last`."""
        return self.path / f"{name}{SUFFIX}"

    def save(self, name: str, network: Network, manifest: Manifest) -> None:
        """Write an artefact, whole or not at all."""
        save_artefact(self.artefact(name), network, manifest)

    def write_recipe(self, recipe: Recipe) -> None:
        """Write the resolved recipe, under its digest."""
        write_atomically(self.path / "recipe.toml", f"# digest {recipe.digest()}\n{recipe.to_toml()}".encode())

    def event(self, kind: str, fields: dict[str, Any]) -> None:
        """Append one line of JSON to `events.jsonl`."""
        line = {"event": kind, "time": datetime.now(UTC).isoformat(timespec="milliseconds"), **fields}
        with (self.path / "events.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")


def free_path(parent: Path, name: str) -> Path:
    """Return `parent/name`, or the first of `parent/name-2`, `parent/name-3`, ... that is not there."""
    candidates = (parent / (name if number == 1 else f"{name}-{number}") for number in count(1))
    return next(path for path in candidates if not path.exists())
