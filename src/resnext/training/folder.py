"""The folder of a run: the resolved recipe, an event log, the best and the last artefact, and checkpoints."""

import json
import os
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from itertools import count
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from resnext.artefact.address import SUFFIX
from resnext.artefact.sealed import write_atomically
from resnext.spec.recipe import Recipe
from resnext.training.checkpoint import Checkpoints

_EVENTS, _ATTEMPTS, _LOCK = "events.jsonl", "attempts.jsonl", ".lock"


class RunFolder:
    """A folder that belongs to one run, and is written by one process at a time.

    `events.jsonl` says what was learnt and is the same whether or not the run was interrupted, but for times;
    `attempts.jsonl` has a line for each time that the run was started or went on, and on what machine.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.checkpoints = Checkpoints(path / "checkpoints")
        self._lock = FileLock(path / _LOCK, timeout=0)

    def claim(self, *, resumes: bool) -> None:
        """Make the folder, or take over that of a stopped run, for as long as this process lives.

        Raises `ValueError` where the path holds files already and no run is resumed, where it holds files of
        something else, where another process is writing it, or where it cannot be made or written.
        """
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            self.check(resumes=resumes)
            self._lock.acquire()
            self._sweep()
        except Timeout:
            raise ValueError(f"{self.path} is being written by another process; wait for it or stop it") from None
        except OSError as error:
            raise ValueError(f"{self.path} cannot be used as a run folder: {error.strerror}") from None

    def check(self, *, resumes: bool) -> None:
        """Make sure, and write nothing, that what the path holds, if anything, is as `claim` needs it.

        Raises `ValueError` where it is not.
        """
        if not self.path.exists():
            return
        held = {entry.name for entry in self.path.iterdir()} - {_LOCK}
        if held and not resumes:
            raise ValueError(
                f"{self.path} already holds files; give another folder, so that nothing is lost, or --resume to go"
                " on with the run in it"
            )
        if held and not held & {_EVENTS, _ATTEMPTS}:
            raise ValueError(f"{self.path} holds files but no {_EVENTS} of a run; there is nothing to resume")

    def _sweep(self) -> None:
        """Remove what a killed process was writing: unfinished files, and an unfinished line."""
        for leftover in self.path.glob(".*.tmp"):
            leftover.unlink(missing_ok=True)
        attempts = self.path / _ATTEMPTS
        if attempts.exists():
            whole = attempts.read_bytes().rpartition(b"\n")
            os.truncate(attempts, len(whole[0] + whole[1]))

    def last_launch(self) -> str:
        """Return what torchrun called the launch that last wrote here; empty where none did."""
        attempts = self.path / _ATTEMPTS
        lines = attempts.read_text(encoding="utf-8").splitlines() if attempts.exists() else []
        try:
            return str(json.loads(lines[-1])["launch"]) if lines else ""
        except (ValueError, KeyError):
            return ""

    def first_event(self) -> dict[str, Any]:
        """Return the event with which the run in the folder began; empty where it did not come to it."""
        try:
            with (self.path / _EVENTS).open(encoding="utf-8") as file:
                return dict(json.loads(file.readline()))
        except (OSError, ValueError):
            return {}

    def release(self) -> None:
        """Let other processes have the folder."""
        self._lock.release()

    def artefact(self, name: str) -> Path:
        """Return the path of the artefact `best` or `last`."""
        return self.path / f"{name}{SUFFIX}"

    @property
    def event_log(self) -> Path:
        """The path of the log of what was learnt."""
        return self.path / _EVENTS

    @property
    def attempt_log(self) -> Path:
        """The path of the log of starts."""
        return self.path / _ATTEMPTS

    @property
    def report(self) -> Path:
        """The path of the page about the run."""
        return self.path / "report.html"

    @property
    def tensorboard(self) -> Path:
        """The path of the folder of TensorBoard's events."""
        return self.path / "tensorboard"

    def write_recipe(self, recipe: Recipe) -> None:
        """Write the resolved recipe, under its digest."""
        write_atomically(self.path / "recipe.toml", f"# digest {recipe.digest()}\n{recipe.to_toml()}".encode())

    def events(self, kind: str, events: Iterable[Mapping[str, Any]]) -> None:
        """Append events of a kind to `events.jsonl`, a line of JSON each."""
        self._append(_EVENTS, ({"event": kind, "time": _now(), **fields} for fields in events))

    def attempt(self, fields: Mapping[str, Any]) -> None:
        """Append a line of JSON to `attempts.jsonl`."""
        self._append(_ATTEMPTS, [{"time": _now(), **fields}])

    def num_event_bytes(self) -> int:
        """Flush the event log to the disk and return its length."""
        path = self.path / _EVENTS
        try:
            with path.open("rb") as file:
                os.fsync(file.fileno())
                return file.seek(0, os.SEEK_END)
        except OSError as error:
            raise OSError(f"{path} could not be written: {error.strerror}") from None

    def forget_events(self, num_bytes: int) -> None:
        """Cut the event log back to a length that it had."""
        with (self.path / _EVENTS).open("ab") as file:
            file.truncate(num_bytes)

    def _append(self, name: str, lines: Iterable[Mapping[str, Any]]) -> None:
        try:
            with (self.path / name).open("a", encoding="utf-8") as file:
                file.writelines(json.dumps(line) + "\n" for line in lines)
        except OSError as error:
            raise OSError(f"{self.path / name} could not be written: {error.strerror}") from None


def free_path(parent: Path, name: str) -> Path:
    """Return `parent/name`, or the first of `parent/name-2`, `parent/name-3`, ... that is not there."""
    candidates = (parent / (name if number == 1 else f"{name}-{number}") for number in count(1))
    return next(path for path in candidates if not path.exists())


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")
