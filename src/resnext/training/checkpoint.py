"""What a stopped run goes on from: the whole training state, sealed, with the one before it kept in reserve."""

import re
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from torch import Tensor

from resnext.artefact.manifest import Measurement
from resnext.artefact.sealed import SealError, read_sealed, write_sealed
from resnext.spec.value import Spec, SpecError
from resnext.training.state import Position

_KIND = "checkpoint"
_NUM_KEPT = 2
_SECONDS = {"s": 1, "sec": 1, "min": 60, "h": 3600}


class CheckpointError(ValueError):
    """A checkpoint that belongs to another run, or a folder none of whose checkpoints is whole."""


class Identity(Spec):
    """What a run must share with a checkpoint to go on from it."""

    recipe_digest: str
    data_digest: str
    seed: int


class Memory(Spec):
    """What a run remembers beside the training state: its scores, and what went wrong.

    `scored_step` is the step after which the weights were last scored. `num_event_bytes` is the length of the event
    log; what is logged later is learnt again after a resume, and logged again.
    """

    scored_step: int = 0
    best_epoch: int | None = None
    best: Measurement | None = None
    last: Measurement | None = None
    problems: tuple[str, ...] = ()
    num_unreadable: int = 0
    num_event_bytes: int = 0
    wall_seconds: float = 0.0


class Progress(Spec):
    """Where a run stands, in words: all that a checkpoint holds beside tensors."""

    format: Literal[1] = 1
    identity: Identity
    command: str
    position: Position
    memory: Memory


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A checkpoint as read, and a sentence for each newer one that was not whole."""

    progress: Progress
    tensors: Mapping[str, Tensor]
    passed_over: tuple[str, ...]


class Checkpoints:
    """The checkpoints of one run, in a folder: the newest and the one before."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def write(self, progress: Progress, tensors: Mapping[str, Tensor]) -> None:
        """Write a checkpoint, whole or not at all, and then remove all but the newest two.

        Raises `OSError` where it cannot be written; those before are then still there.
        """
        self.folder.mkdir(exist_ok=True)
        write_sealed(self.folder / f"step-{progress.position.step:09}.safetensors", _KIND, progress.to_json(), tensors)
        for path in self._paths()[_NUM_KEPT:]:
            path.unlink(missing_ok=True)
        for leftover in self.folder.glob(".*.tmp"):
            leftover.unlink(missing_ok=True)

    def newest(self) -> Path | None:
        """Return the path of the newest checkpoint; None where there is none."""
        return next(iter(self._paths()), None)

    def newest_step(self) -> int:
        """Return the step after which the newest checkpoint was written; 0 where there is none."""
        newest = self.newest()
        return 0 if newest is None else int(newest.stem.removeprefix("step-"))

    def read(self) -> Checkpoint | None:
        """Read the newest checkpoint that is whole, and put those after it aside; None where there is none at all.

        Raises `CheckpointError` where there are some and none is whole.
        """
        paths = self._paths()
        damaged: list[str] = []
        for path in paths:
            try:
                words, tensors = read_sealed(path, _KIND)
                checkpoint = Checkpoint(Progress.from_json(words), tensors, tuple(damaged))
            except SealError as error:
                damaged.append(f"{error}; going on from the checkpoint before it")
            except SpecError as error:
                damaged.append(f"{path} is of another version ({error}); going on from the checkpoint before it")
            else:
                _put_aside(paths[: len(damaged)])
                return checkpoint
        if damaged:
            raise CheckpointError(f"none of the {len(paths)} checkpoints in {self.folder} is whole; start a new run")
        return None

    def _paths(self) -> list[Path]:
        return sorted(self.folder.glob("step-*.safetensors"), reverse=True)


def _put_aside(damaged: list[Path]) -> None:
    """Rename checkpoints that are not whole, so that none of them counts as one of those kept."""
    for path in damaged:
        with suppress(OSError):
            path.rename(path.with_suffix(".damaged"))


@dataclass(frozen=True, slots=True)
class Interval:
    """How often a checkpoint is written, beside the end of each epoch: every so many steps, or seconds."""

    steps: int | None = None
    seconds: float | None = None

    @classmethod
    def parse(cls, text: str) -> "Interval":
        """Read `500` (steps), `30s`, `10min` or `2h`. Raises `ValueError` on anything else."""
        match = re.fullmatch(r"\s*(\d{1,9})\s*(s|sec|min|h)?\s*", text)
        if match is None or int(match[1]) < 1:
            raise ValueError(f"checkpoint interval {text!r}: give a number of steps, such as 500, or 30s, 10min or 2h")
        return cls(steps=int(match[1])) if match[2] is None else cls(seconds=int(match[1]) * _SECONDS[match[2]])


TEN_MINUTES = Interval(seconds=600)


@dataclass(slots=True)
class Timer:
    """Tells when the next checkpoint is due."""

    interval: Interval
    step: int = 0
    at: float = field(default_factory=time.monotonic)

    def is_due(self, step: int) -> bool:
        """Tell whether a checkpoint is due after a step."""
        if self.interval.steps is not None:
            return step - self.step >= self.interval.steps
        return self.interval.seconds is not None and time.monotonic() - self.at >= self.interval.seconds

    def reset(self, step: int) -> None:
        """Count anew from a step at which a checkpoint was written."""
        self.step, self.at = step, time.monotonic()
