"""`wds:SHARDS`: tar files of images with their labels, as the webdataset library writes them, read in order."""

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from itertools import chain
from pathlib import Path
from typing import Any

from resnext.data.dataset import Data, DataError
from resnext.data.found import SPLIT_NAMES, USUAL, Admission, is_unicode
from resnext.data.scan import Scanned, stream_data
from resnext.data.tar import Entry, ShardError, entries, is_address
from resnext.imaging.decode import MAX_FILE_BYTES

OPTIONS = ("val", "test", "classes")

_LABEL_SUFFIXES = ("cls", "txt", "json")
_SHARD_SUFFIXES = (".tar", ".tar.gz", ".tar.xz", ".tar.bz2", ".tgz")
_MAX_LABEL_BYTES = 2**20
_MAX_DIGITS = 18


class _NoLabelError(ValueError):
    """A sample without a usable label; the message says why."""


@dataclass(frozen=True, slots=True)
class TarShards:
    """Reads tar shards by path or address; `class_names` are what the numbers in `.cls` stand for, if any are given."""

    class_names: tuple[str, ...] = ()

    def read(self, shard: str) -> Iterator[tuple[str, bytes]]:
        """Yield the name and the image of every sample of a shard. Raises `OSError` where it cannot be read."""
        for entry in entries(shard):
            yield entry.name, entry.read(entry.image) if entry.image else b""

    def scan(self, shard: str, *, reads: bool) -> Iterator[Scanned]:
        """Yield what is seen of every sample of a shard. Raises `DataError` where it is missing or damaged."""
        try:
            for entry in entries(shard):
                yield self._seen(entry, reads=reads)
        except ShardError as error:
            raise DataError(str(error)) from None

    def _seen(self, entry: Entry, *, reads: bool) -> Scanned:
        image = entry.image
        if image is None:
            return Scanned(
                name=entry.name, problem=f"no image among {', '.join(f'.{suffix}' for suffix in entry.files)}"
            )
        if not 0 < image.size <= MAX_FILE_BYTES:
            return Scanned(
                name=entry.name, problem=f"its image has {image.size} bytes; 1 to {MAX_FILE_BYTES} are allowed"
            )
        try:
            label = self._label(entry)
        except _NoLabelError as error:
            return Scanned(name=entry.name, problem=str(error))
        return Scanned(name=entry.name, label=label, size=image.size, content=entry.read(image) if reads else b"")

    def _label(self, entry: Entry) -> str:
        """Return the class of a sample, by `.cls`, `.txt` or `.json`, the first that there is."""
        suffix = next((suffix for suffix in _LABEL_SUFFIXES if suffix in entry.files), None)
        if suffix is None:
            raise _NoLabelError("no label: neither .cls, .txt nor .json")
        text = _text(entry, suffix)
        label = _json_label(text) if suffix == "json" else text
        if suffix == "cls" or (isinstance(label, int) and not isinstance(label, bool)):
            return self._class(str(label), suffix)
        if not isinstance(label, str) or not label.strip():
            raise _NoLabelError(f"the label in its .{suffix} is empty, or no text and no whole number")
        if not is_unicode(label):
            raise _NoLabelError(f"its .{suffix} holds {label[:40]!r}, which is no Unicode text")
        return label.strip()

    def _class(self, number: str, suffix: str) -> str:
        if not number.isdecimal() or len(number) > _MAX_DIGITS:
            advice = "; a name belongs in .txt" if suffix == "cls" else ""
            raise _NoLabelError(f"its .{suffix} holds {number[:40]!r}, not a whole number from 0 on{advice}")
        if not self.class_names:
            return str(int(number))
        if int(number) >= len(self.class_names):
            raise _NoLabelError(f"its class is {number}, but there are names for 0 to {len(self.class_names) - 1} only")
        return self.class_names[int(number)]


def open_wds(shards: str, options: Mapping[str, str], admission: Admission = USUAL) -> Data:
    """Open tar shards, `train-{000..003}.tar`, or a folder with `train-*.tar` and perhaps `val-` and `test-*.tar`.

    `val` and `test` name more shards, `classes` a file with the name of a class on each line, for integer labels.
    Every shard is looked through once; see `stream_data`.
    Raises `DataError` where one is missing, empty, damaged or named twice.
    """
    if find_spec("webdataset") is None:
        raise DataError("wds: needs webdataset; pip install 'resnext[shards]'")
    folder = Path(shards).expanduser()
    found, problems = _in_folder(folder) if folder.is_dir() else ({"train": _expanded(shards)}, [])
    for split in ("val", "test"):
        if split in options:
            found[split] = _expanded(options[split])
    _check_each_once(chain.from_iterable(found.values()))
    if list(found) == ["train"]:
        found = {"": found["train"]}
    scanner = TarShards(_class_names(Path(options["classes"])) if "classes" in options else ())
    return stream_data(f"wds:{shards}", scanner, found, problems, admission)


def _in_folder(folder: Path) -> tuple[dict[str, list[str]], list[str]]:
    """Find the shards of each split by their names, and say what else is there."""
    found: dict[str, list[str]] = {}
    problems = []
    for path in sorted(folder.iterdir()):
        split = SPLIT_NAMES.get(path.name.partition(".")[0].partition("-")[0])
        if split and path.name.endswith(_SHARD_SUFFIXES):
            found.setdefault(split, []).append(str(path))
        else:
            problems.append(f"{path.name}: ignored, not named like train-000.tar, val-000.tar or test-000.tar")
    if "train" not in found:
        raise DataError(
            f"wds: {folder} has no shard named like train-000.tar; the classes are fixed by training images"
        )
    return found, problems


def _expanded(shards: str) -> list[str]:
    from webdataset.shardlists import expand_urls  # noqa: PLC0415 - an extra, whose import takes a second

    try:
        names: list[str] = expand_urls(shards)
    except ValueError as error:
        raise DataError(f"wds: {shards!r} cannot be taken apart: {error}") from None
    for name in names:
        is_address(name)
    return names


def _check_each_once(shards: Iterable[str]) -> None:
    """Make sure that no shard is named twice, in one split or two. Raises `DataError` where one is."""
    known = set()
    for shard in shards:
        where = shard if is_address(shard) else str(Path(shard).expanduser().resolve())
        if where in known:
            raise DataError(f"wds: {shard} is named twice; name every shard once, in one split")
        known.add(where)


def _class_names(path: Path) -> tuple[str, ...]:
    try:
        names = tuple(line.strip() for line in path.expanduser().read_text(encoding="utf-8").splitlines())
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"classes={path}: {getattr(error, 'strerror', None) or error}") from None
    if not all(names) or len(set(names)) < len(names):
        raise DataError(f"classes={path}: give every class a line and a name of its own")
    return names


def _text(entry: Entry, suffix: str) -> str:
    content = entry.read(entry.files[suffix], _MAX_LABEL_BYTES)
    try:
        return content.decode("utf-8").strip()
    except UnicodeDecodeError:
        raise _NoLabelError(f"its .{suffix} is not UTF-8 text") from None


def _json_label(text: str) -> Any:
    try:
        fields = json.loads(text)
    except (ValueError, RecursionError):
        raise _NoLabelError("its .json is not JSON") from None
    if not isinstance(fields, dict) or "label" not in fields:
        raise _NoLabelError("its .json has no 'label'")
    return fields["label"]
