"""The quarantine list: names of images that are left out of every split, in a text file to be edited by hand.

A line is a name; lines that start with `#` are comments. A name that could be taken for something else, because it
starts with `#` or a quotation mark, ends in a blank or holds a line break, is written as a JSON string.
"""

import json
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from resnext.data.dataset import Data, DataError, Dataset, digest_of
from resnext.data.views import Selected

MAX_BYTES = 2**28

_HEAD = """\
# Images that `--quarantine` leaves out of every split: a name a line, and why in the line before it.
# Delete the line of what you want to keep.
"""


@dataclass(frozen=True, slots=True)
class Quarantined:
    """An image to be left out, and why."""

    name: str
    reason: str


def write_quarantine(path: Path, images: Iterable[Quarantined]) -> None:
    """Write a quarantine list. Raises `OSError` where it cannot be written."""
    lines = (f"# {' '.join(image.reason.split())}\n{_written(image.name)}\n" for image in images)
    path.write_text(_HEAD + "".join(lines), encoding="utf-8", errors="backslashreplace", newline="\n")


def read_quarantine(path: Path) -> frozenset[str]:
    """Return the names in a quarantine list. Raises `DataError` where it cannot be read."""
    try:
        if path.stat().st_size > MAX_BYTES:
            raise DataError(f"{path} has more than the {MAX_BYTES} bytes that a quarantine list may have")
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise DataError(f"{path}: the quarantine list cannot be read, {error.strerror}") from None
    except UnicodeDecodeError:
        raise DataError(f"{path} is no quarantine list: not a text in UTF-8; give a name a line") from None
    names = set()
    for number, line in enumerate(text.split("\n"), start=1):
        if (stripped := line.strip()) and not stripped.startswith("#"):
            names.add(_read(stripped, f"{path}, line {number}"))
    return frozenset(names)


def without(data: Data, names: frozenset[str]) -> Data:
    """Return opened data without some of its images; the digest is that of what is left.

    Raises `DataError` where no training image is left.
    """
    if not names:
        return data
    missing, splits = set(names), dict[str, Dataset]()
    for split in data.splits:
        dataset = data.indexed(split)
        called = [dataset.name(index) for index in range(len(dataset.labels))]
        missing.difference_update(called)
        kept = [index for index, name in enumerate(called) if name not in names]
        splits[split] = dataset if len(kept) == len(called) else Selected(dataset, kept)
    out = sorted(names - missing)
    if not splits["train"].labels:
        raise DataError(f"{data.source}: the quarantine list leaves no training image")
    return replace(
        data,
        splits={split: dataset for split, dataset in splits.items() if dataset.labels},
        digest=digest_of([data.digest, *out]) if out else data.digest,
        problems=(*data.problems, *not_found(missing)),
    )


def not_found(names: Iterable[str]) -> list[str]:
    """Return a line for every name of a quarantine list that no image has."""
    return [
        f"{name}: in the quarantine list, but no image has this name; see how it is spelt" for name in sorted(names)
    ]


def _written(name: str) -> str:
    is_plain = name.isprintable() and name == name.strip() and not name.startswith(("#", '"'))
    return name if is_plain else json.dumps(name)


def _read(line: str, where: str) -> str:
    if not line.startswith('"'):
        return line
    try:
        return str(json.loads(line))
    except ValueError:
        raise DataError(f"{where}: {line} starts like a JSON string but is none; close the quotation mark") from None
