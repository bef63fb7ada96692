"""Lists of images: `.csv`, `.tsv` or `.jsonl`, a row for each with its path, its label and perhaps its split."""

import csv
import json
from array import array
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from resnext.data.dataset import Data, DataError
from resnext.data.encoded import Files
from resnext.data.examine import data_of, examined, indexed
from resnext.data.found import SPLIT_NAMES, USUAL, Admission, ClassImages, Found

OPTIONS = ("path", "label", "split", "root")

_SUFFIXES = (".csv", ".tsv", ".jsonl")

Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class _Columns:
    """The columns that say of an image its path, its label and, where there is such a column, its split."""

    path: str
    label: str
    split: str | None


@dataclass(slots=True)
class _Listed:
    """What the rows name so far: paths with their sizes, by split and class; what is missing; what is wrong."""

    images: dict[tuple[str, str], list[tuple[str, int]]] = field(default_factory=dict)
    missing: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    other_splits: set[str] = field(default_factory=set)
    num_rows: int = 0


def is_list(path: Path) -> bool:
    """Tell by its suffix whether a path is that of a list."""
    return path.suffix.lower() in _SUFFIXES


def open_list(path: Path, options: Mapping[str, str], admission: Admission = USUAL) -> Data:
    """Open a list of images; relative paths in it are below the folder that it is in, or below `root`.

    `path`, `label` and `split` name other columns. Labels are text. The order of the rows does not matter: the same
    images give the same data as in class folders. Files are examined, and splits made, as for a folder.
    Raises `DataError` where the list cannot be read, lacks a column, or names mostly files that do not exist.
    """
    root = Path(options["root"]).expanduser() if "root" in options else path.parent
    try:
        listed = _read(path, options, root)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path} cannot be read as a list: {getattr(error, 'strerror', None) or error}") from None
    if len(listed.missing) * 2 > listed.num_rows:
        raise DataError(
            f"{path}: {len(listed.missing):,} of the {listed.num_rows:,} files that it names do not exist, the first:"
            f" {root / listed.missing[0]}; ?root=FOLDER says below which folder relative paths are"
        )
    files = Files(root)
    found = examined(_found(listed), files, admission)
    if found.has_splits and not any(images.split == "train" for images in found.classes):
        raise DataError(f"{path} has splits but no images of 'train'; the classes are fixed by training images")
    return data_of(str(path), files, indexed(str(path), found))


def _read(path: Path, options: Mapping[str, str], root: Path) -> _Listed:
    listed, columns = _Listed(), None
    for line, row in _rows(path):
        columns = columns or _columns(path, list(row), options)
        listed.num_rows += 1
        _take(listed, f"{path.name}, line {line}", row, columns, root)
    if columns is None:
        raise DataError(f"{path} has no rows; give one for each image, with its path and its label")
    return listed


def _rows(path: Path) -> Iterator[tuple[int, Row]]:
    """Yield the rows, each with the number of the line on which it ends."""
    with path.open(encoding="utf-8-sig", newline="") as file:
        if path.suffix.lower() == ".jsonl":
            yield from _json_rows(path, file)
            return
        reader = csv.DictReader(file, delimiter="\t" if path.suffix.lower() == ".tsv" else ",")
        for row in reader:
            yield reader.line_num, row


def _json_rows(path: Path, lines: Iterable[str]) -> Iterator[tuple[int, Row]]:
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise DataError(f"{path}, line {number}: not JSON ({error})") from None
        if not isinstance(row, dict):
            raise DataError(f"{path}, line {number}: {line.strip()[:80]} is not an object with a path and a label")
        yield number, row


def _columns(path: Path, there: list[str], options: Mapping[str, str]) -> _Columns:
    columns = {name: options.get(name, name) for name in ("path", "label", "split")}
    for name, column in columns.items():
        if column not in there and (name != "split" or name in options):
            raise DataError(
                f"{path} has no column {column!r}; it has {', '.join(map(str, there))}; ?{name}=COLUMN names the one to"
                " take"
            )
    return _Columns(columns["path"], columns["label"], columns["split"] if columns["split"] in there else None)


def _take(listed: _Listed, where: str, row: Row, columns: _Columns, root: Path) -> None:
    """Note the image of a row, or why it is left out."""
    path, label = _text(row.get(columns.path)), _text(row.get(columns.label))
    split = _text(row.get(columns.split)) if columns.split else ""
    if not path or not label or (columns.split and not split):
        absent = columns.path if not path else columns.label if not label else columns.split
        listed.problems.append(f"{where}: left out, no {absent}")
    elif split and split not in SPLIT_NAMES:
        if split not in listed.other_splits:
            allowed = ", ".join(SPLIT_NAMES)
            listed.problems.append(f"{where}: rows of split {split!r} are left out, it is none of {allowed}")
        listed.other_splits.add(split)
    elif (size := _size(root, path)) is None:
        listed.missing.append(path)
        listed.problems.append(f"{path}: left out, the file does not exist")
    else:
        listed.images.setdefault((SPLIT_NAMES.get(split, ""), label), []).append((path, size))


def _text(value: Any) -> str:
    return str(value).strip() if isinstance(value, str | int | float) else ""


def _size(root: Path, path: str) -> int | None:
    try:
        return (root / path).stat().st_size
    except (OSError, ValueError):  # ValueError: a null character
        return None


def _found(listed: _Listed) -> Found:
    classes = []
    for (split, label), images in sorted(listed.images.items()):
        paths, sizes = zip(*sorted(images), strict=True)
        classes.append(ClassImages(split=split, class_name=label, names=paths, sizes=array("q", sizes)))
    return Found(a_class_is="a label", classes=classes, problems=listed.problems)
