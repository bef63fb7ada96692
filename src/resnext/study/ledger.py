"""The ledger of a study: a file that only grows, a line of JSON for each study that was asked and each run that ended.

Several processes may write one ledger: each line is appended under a lock, whole, after what a killed process left
unfinished has been cut off.
"""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from filelock import FileLock, Timeout
from pydantic import Field

from resnext.spec.plan import Form
from resnext.spec.recipe import Recipe
from resnext.spec.value import Spec
from resnext.study.design import Setting, Study, Trial, View

_LEDGER, _RUNS = "ledger.jsonl", "runs"
_KEY_LETTERS = 16
_TORN_LETTERS = 60  # of an unfinished line that are shown

Percent = Annotated[float, Field(ge=0, le=100)]


class LedgerError(ValueError):
    """A file that is no ledger, or one that lacks what is asked of it; the message names it."""


class EpochErrors(Spec):
    """The top-1 errors of one epoch: of training images as they were shown, and of held-out ones after it."""

    train: Percent
    held_out: Percent


class Outcome(Spec):
    """How one run ended, where it was made and how.

    Errors of the best and of the last epoch are on the `num_images` of `split`; `views` holds those of the last epoch
    in further views. `failure` says why a run has no errors: its loss became infinite. Device, versions, commit and
    command are those of the attempt that ended the run; `processor` is the name of the CPU or GPU, as far as is known.
    """

    recipe: Recipe
    seed: int
    form: Form
    data: str
    data_digest: str
    split: str
    num_images: int
    best_epoch: int | None = None
    best_top1_error_percent: Percent | None = None
    last_top1_error_percent: Percent | None = None
    views: dict[View, Percent] = Field(default_factory=dict)
    curve: tuple[EpochErrors, ...]
    failure: str | None = None
    wall_seconds: float
    images_per_second: float
    device: str
    processor: str = ""
    num_cores: int
    num_threads: int | None = None
    precision: str
    is_compiled: bool = False
    versions: dict[str, str]
    commit: str | None = None
    command: str
    ended: str

    @property
    def key(self) -> str:
        """What tells runs apart: see `key_of`."""
        return key_of(self.recipe, self.seed, self.form, self.data_digest)

    def figure(self, setting: Setting) -> float | None:
        """Return the figure that a setting compares; None where the run has none."""
        if self.failure is not None:
            return None
        if setting.quantity == "train_top1_error_percent":
            return self.curve[-1].train
        return self.last_top1_error_percent if setting.view == "single" else self.views.get(setting.view)

    def answers(self, trial: Trial) -> bool:
        """Tell whether the run has all that a trial of the same key asks for."""
        return self.failure is not None or trial.views <= set(self.views)


class Asked(Spec):
    """A study as it was asked, with resolved recipes, of some data, with so many seeds."""

    study: Study
    data: str
    data_digest: str
    num_seeds: int


def key_of(recipe: Recipe, seed: int, form: Form, data_digest: str) -> str:
    """Return the name of a run: equal for equal recipes, seeds, forms and data."""
    return f"{recipe.digest()[:_KEY_LETTERS]}-{data_digest[:_KEY_LETTERS]}-{form}-{seed}"


@dataclass(frozen=True, slots=True)
class Pages:
    """What a ledger holds: each study of some data as it was asked last, and each run as it ended last.

    `problems` names the lines that are not read: what a killed process left unfinished at the end, and what is damaged
    or of another version.
    """

    asked: tuple[Asked, ...]
    outcomes: dict[str, Outcome]
    problems: tuple[str, ...] = ()


class Ledger:
    """A folder with the ledger, `ledger.jsonl`, and the run folders of its runs, under `runs/`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.path = folder / _LEDGER

    def read(self) -> Pages:
        """Read all that can be read. Raises `LedgerError` where not a line is of a ledger."""
        text = self.path.read_bytes() if self.path.exists() else b""
        whole, _, torn = text.rpartition(b"\n")
        asked: dict[tuple[str, str, str], Asked] = {}
        outcomes: dict[str, Outcome] = {}
        problems = []
        for number, line in enumerate(whole.splitlines(), start=1):
            try:
                entry = _entry(line)
            except ValueError as error:
                problems.append(f"{self.path}, line {number} is not read: {error}")
                continue
            if isinstance(entry, Asked):
                name = (entry.study.name, entry.study.scale, entry.data_digest)
                asked.pop(name, None)
                asked[name] = entry
            else:
                outcomes[entry.key] = entry
        if problems and not asked and not outcomes:
            raise LedgerError(f"{self.path} is no ledger, or damaged; restore the file or give another --out")
        if torn:
            left = torn[:_TORN_LETTERS].decode(errors="replace")
            problems.append(f"{self.path}: the last line was left unfinished, and is not read: {left}")
        return Pages(tuple(asked.values()), outcomes, tuple(problems))

    def append(self, entry: Asked | Outcome) -> None:
        """Write an entry, whole or not at all. Raises `OSError` where it cannot be written."""
        kind = "asked" if isinstance(entry, Asked) else "outcome"
        line = json.dumps({"kind": kind, **entry.model_dump(mode="json")}) + "\n"
        self.folder.mkdir(parents=True, exist_ok=True)
        with FileLock(self.folder / ".ledger.lock"), self.path.open("a+b") as file:
            file.seek(0)
            os.truncate(file.fileno(), file.read().rfind(b"\n") + 1)
            file.write(line.encode())
            file.flush()
            os.fsync(file.fileno())

    def run_folder(self, key: str) -> Path:
        """Return the folder of a run."""
        return self.folder / _RUNS / key

    @contextmanager
    def claim(self, key: str) -> Iterator[bool]:
        """Hold a run, so that no other process makes it; yield whether this process does."""
        (self.folder / _RUNS).mkdir(parents=True, exist_ok=True)
        lock = FileLock(self.folder / _RUNS / f".{key}.lock", timeout=0)
        try:
            lock.acquire()
        except Timeout:
            yield False
            return
        try:
            yield True
        finally:
            lock.release()


def _entry(line: bytes) -> Asked | Outcome:
    """Read a line. Raises `ValueError` where it is not of a ledger of this version."""
    kinds: dict[str, type[Asked] | type[Outcome]] = {"asked": Asked, "outcome": Outcome}
    try:
        fields: dict[str, Any] = dict(json.loads(line))
        kind = kinds[fields.pop("kind")]
    except (KeyError, TypeError, ValueError):
        raise ValueError("it is not of a ledger") from None
    return kind(**fields)
