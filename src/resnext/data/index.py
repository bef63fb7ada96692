"""What opening a folder finds out, in little memory, and kept for the next opening where the folder is large.

ImageNet-1K, on which the paper trains (section 5), is a folder of 1.28 million files.
"""

import hashlib
import json
import os
from array import array
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple, overload

import numpy as np
from numpy.typing import NDArray

from resnext.cache import cache_folder

_FORMAT = 1  # raise it whenever the same folder would be indexed otherwise, so that no older index is taken


@dataclass(frozen=True, slots=True)
class Paths(Sequence[str]):
    """Paths in one block of bytes, each decoded when asked for; `ends` says where each ends."""

    block: bytes
    ends: "array[int]"

    @classmethod
    def of(cls, paths: Iterable[str]) -> "Paths":
        """Return paths as one block."""
        block, ends = bytearray(), array("q")
        for path in paths:
            block += path.encode("utf-8", "surrogateescape")
            ends.append(len(block))
        return cls(bytes(block), ends)

    def __len__(self) -> int:
        return len(self.ends)

    @overload
    def __getitem__(self, index: int) -> str: ...

    @overload
    def __getitem__(self, index: slice) -> list[str]: ...

    def __getitem__(self, index: int | slice) -> str | list[str]:
        if isinstance(index, slice):
            return [self[place] for place in range(len(self))[index]]
        place = range(len(self))[index]
        start = self.ends[place - 1] if place else 0
        return self.block[start : self.ends[place]].decode("utf-8", "surrogateescape")


class Labelled(NamedTuple):
    """The images of a split: their names, which are paths below a folder's root, and their labels."""

    paths: Paths
    labels: "array[int]"


@dataclass(frozen=True, kw_only=True)
class Index:
    """What opening a source finds out; see `Data` for the meaning of each field."""

    class_names: tuple[str, ...]
    splits: Mapping[str, Labelled]
    digest: str
    problems: tuple[str, ...]
    has_own_splits: bool


def cache_file(root: Path) -> Path:
    """Return the file in which the index of a folder is kept. Raises `RuntimeError` where the user has no home."""
    key = hashlib.sha256(os.fsencode(root.resolve())).hexdigest()
    return cache_folder() / "folders" / f"{key}.npz"


def recall(root: Path) -> Index | None:
    """Return the index kept of a folder, or None where there is none, it cannot be used, or the folder has changed.

    It holds as long as every folder from the root down was last changed when it was at listing. A file overwritten
    in place, under its name, changes no folder and is not noticed, nor is a folder whose time of change was set back;
    delete `cache_file` to have the folder listed anew.
    """
    try:
        with cache_file(root).open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            header = json.loads(arrays["header"].tobytes())
            if header["format"] != _FORMAT or header["root"] != str(root.resolve()):
                return None
            if any((root / path).stat().st_mtime_ns != time for path, time in header["changed_ns"].items()):
                return None
            return Index(
                class_names=tuple(header["class_names"]),
                splits={split: _labelled(arrays, split, len(header["class_names"])) for split in header["splits"]},
                digest=header["digest"],
                problems=tuple(header["problems"]),
                has_own_splits=True,
            )
    except Exception:  # a damaged or foreign file raises almost anything, and listing anew mends it
        return None


def remember(root: Path, index: Index, changed_ns: Mapping[str, int]) -> None:
    """Keep the index of a folder with given splits for `recall`; do without where it cannot be written.

    `changed_ns` says when every folder, by its path below the root, was last changed. Processes may keep and recall
    at once: a file appears whole, and the last one stays.
    """
    header = {
        "format": _FORMAT,
        "root": str(root.resolve()),
        "changed_ns": dict(changed_ns),
        "class_names": index.class_names,
        "splits": list(index.splits),
        "digest": index.digest,
        "problems": index.problems,
    }
    arrays: dict[str, Any] = {"header": np.frombuffer(json.dumps(header).encode(), np.uint8)}
    for split, (paths, labels) in index.splits.items():
        arrays[f"{split}.block"] = np.frombuffer(paths.block, np.uint8)
        arrays[f"{split}.ends"] = np.asarray(paths.ends)
        arrays[f"{split}.labels"] = np.asarray(labels)
    with suppress(OSError, RuntimeError):
        path = cache_file(root)
        path.parent.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(dir=path.parent) as scratch:
            whole = Path(scratch, path.name)
            np.savez(whole, **arrays)
            whole.replace(path)


def _labelled(arrays: Mapping[str, NDArray[Any]], split: str, num_classes: int) -> Labelled:
    """Return a split from the arrays of a cache file. Raises `ValueError` where they do not fit each other."""
    block, ends, labels = (arrays[f"{split}.{name}"] for name in ("block", "ends", "labels"))
    is_whole = len(ends) == len(labels) > 0 and ends[0] >= 0 and ends[-1] == len(block)
    if not is_whole or np.any(np.diff(ends) < 0) or labels.min() < 0 or labels.max() >= num_classes:
        raise ValueError(f"the arrays of {split} do not fit each other")
    return Labelled(
        Paths(
            block.astype(np.uint8, casting="no").tobytes(), array("q", ends.astype(np.int64, casting="no").tobytes())
        ),
        array("i", labels.astype(np.intc, casting="no").tobytes()),
    )
