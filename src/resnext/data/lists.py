"""Lists of images: `.csv`, `.tsv` or `.jsonl`, a row for each with its path, its label and perhaps its split."""

import csv
import json
from array import array
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from resnext.data.dataset import Data, DataError
from resnext.data.encoded import Files
from resnext.data.examine import data_of, examined, indexed
from resnext.data.found import SPLIT_NAMES, USUAL, Admission, ClassImages, Found, is_unicode

OPTIONS = ("path", "label", "split", "root")

_SUFFIXES = (".csv", ".tsv", ".jsonl")
_KEPT_FIRST = ("test", "val", "train")

Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class _Columns:
    """The columns that say of an image its path, its label and, where there is such a column, its split."""

    path: str
    label: str
    split: str | None


@dataclass(frozen=True, slots=True)
class _Image:
    """What a row says of an image, and the size of its file."""

    split: str
    label: str
    size: int


@dataclass(slots=True)
class _Listed:
    """What the rows name so far: images by path, those in two classes, what is missing, what is wrong."""

    images: dict[str, _Image] = field(default_factory=dict)
    at_odds: set[str] = field(default_factory=set)
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
    images give the same data as in class folders. Files are examined, and splits made, as for a folder. A path that is
    listed in two classes is left out; in two splits, it is kept in one.
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
    there = list(dict.fromkeys(key for _, row in _rows(path) for key in row if key))
    if not there:
        raise DataError(f"{path} has no rows; give one for each image, with its path and its label")
    listed, columns = _Listed(), _columns(path, there, options)
    for line, row in _rows(path):
        listed.num_rows += 1
        _take(listed, f"{path.name}, line {line}", row, columns, root)
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
                f"{path} has no column {column!r}; it has {', '.join(there)}; ?{name}=COLUMN names the one to take"
            )
    return _Columns(columns["path"], columns["label"], columns["split"] if columns["split"] in there else None)


def _take(listed: _Listed, where: str, row: Row, columns: _Columns, root: Path) -> None:
    """Note the image of a row, or why it is left out."""
    path, label = _text(row.get(columns.path)), _text(row.get(columns.label))
    split = _text(row.get(columns.split)) if columns.split else ""
    if not path or not label or (columns.split and not split):
        absent = columns.path if not path else columns.label if not label else columns.split
        listed.problems.append(f"{where}: left out, no {absent}")
    elif not_written := next((text for text in (path, label, split) if not is_unicode(text)), None):
        listed.problems.append(f"{where}: left out, {not_written!r} is no Unicode text")
    elif split and split not in SPLIT_NAMES:
        if split not in listed.other_splits:
            allowed = ", ".join(SPLIT_NAMES)
            listed.problems.append(f"{where}: rows of split {split!r} are left out, it is none of {allowed}")
        listed.other_splits.add(split)
    elif (size := _size(root, path)) is None:
        listed.missing.append(path)
        listed.problems.append(f"{path}: left out, the file does not exist")
    else:
        _place(listed, where, path, _Image(SPLIT_NAMES.get(split, ""), label, size))


def _place(listed: _Listed, where: str, path: str, image: _Image) -> None:
    """Note an image; of one that other rows name too, one is kept, in the split nearest to the test."""
    known = listed.images.setdefault(path, image)
    if known is image or path in listed.at_odds:
        return
    if known.label != image.label:
        listed.at_odds.add(path)
        listed.problems.append(f"{path}: left out, listed as {known.label} and, in {where}, as {image.label}")
    elif known.split == image.split:
        listed.problems.append(f"{where}: left out, {path} is listed before")
    else:
        kept = listed.images[path] = min(known, image, key=lambda one: _KEPT_FIRST.index(one.split))
        listed.problems.append(f"{where}: {path} is listed in {known.split} and {image.split}; kept in {kept.split}")


def _text(value: Any) -> str:
    return str(value).strip() if isinstance(value, str | int | float) else ""


def _size(root: Path, path: str) -> int | None:
    try:
        return (root / path).stat().st_size
    except (OSError, ValueError):  # ValueError: a null character
        return None


def _found(listed: _Listed) -> Found:
    by_class: dict[tuple[str, str], list[tuple[str, int]]] = defaultdict(list)
    for path, image in sorted(listed.images.items(), key=lambda item: item[0]):
        if path not in listed.at_odds:
            by_class[image.split, image.label].append((path, image.size))
    classes = []
    for (split, label), images in sorted(by_class.items(), key=lambda item: item[0]):
        paths, sizes = zip(*images, strict=True)
        classes.append(ClassImages(split=split, class_name=label, names=paths, sizes=array("q", sizes)))
    return Found(a_class_is="a label", classes=classes, problems=listed.problems)
