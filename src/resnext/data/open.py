"""One string names the data: `digits`, a folder, a list, `cifar10:ROOT`, `cifar100:ROOT`, `hf:NAME`, `wds:SHARDS`."""

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from resnext.data import hf, lists, wds
from resnext.data.cifar import open_cifar
from resnext.data.dataset import Data, DataError
from resnext.data.digits import open_digits
from resnext.data.folder import open_folder
from resnext.data.found import Admission
from resnext.data.quarantine import read_quarantine, without

KINDS = (
    "'digits', the path of a folder of images or of a .csv, .tsv or .jsonl list, 'cifar10:ROOT', 'cifar100:ROOT',"
    " 'hf:NAME_OR_PATH' or 'wds:SHARDS'"
)


def open_data(
    source: str,
    *,
    download: bool = False,
    strict: bool = False,
    examines: bool = True,
    quarantine: str | Path | frozenset[str] | None = None,
) -> Data:
    """Open a data set by the string that names it.

    Lists, `hf:` and `wds:` may end in options, `?key=value&key=value`. `download` lets CIFAR fetch its files where they
    are missing. With `strict`, every image is decoded first and anything that would be worked around is an error. With
    `examines` false, no image is decoded and damaged ones stay in. `quarantine` holds names of images to leave out, or
    is a file of them, see `read_quarantine`.
    Raises `DataError` where the source is not known or cannot be used, and `OSError` where a server does not answer.
    """
    names = read_quarantine(Path(quarantine)) if isinstance(quarantine, str | Path) else quarantine or frozenset()
    admission = Admission(examines=examines, examine_all=strict, quarantine=names)
    data = _open(source, admission, download=download)
    if strict and data.problems:
        lines = "\n  ".join(data.problems)
        raise DataError(f"{source} has {len(data.problems)} problems, and strict allows none:\n  {lines}")
    return data


def _open(source: str, admission: Admission, *, download: bool) -> Data:
    if source == "digits":
        return without(open_digits(), admission.quarantine)
    kind, separator, rest = source.partition(":")
    match kind if separator else "":
        case "cifar10" | "cifar100":
            return without(open_cifar(kind, Path(rest).expanduser(), download=download), admission.quarantine)
        case "hf":
            return replace(hf.open_hf(*_options(rest, hf.OPTIONS), admission), source=source)
        case "wds":
            return replace(wds.open_wds(*_options(rest, wds.OPTIONS), admission), source=source)
    return _open_path(source, admission)


def _open_path(source: str, admission: Admission) -> Data:
    path = Path(source).expanduser()
    options: dict[str, str] = {}
    if not path.exists() and lists.is_list(Path(source.rpartition("?")[0])):
        name, options = _options(source, lists.OPTIONS)
        path = Path(name).expanduser()
    if not path.exists():
        raise DataError(f"no data at {source!r}; data is named by {KINDS}")
    if path.is_dir():
        return open_folder(path, admission)
    if not lists.is_list(path):
        raise DataError(f"{source} is a file, but no list; data is named by {KINDS}")
    return replace(lists.open_list(path, options, admission), source=source)


def _options(source: str, allowed: Sequence[str]) -> tuple[str, dict[str, str]]:
    """Take options off the end of what names a source. Raises `DataError` where one is not allowed."""
    name, query = _divided(source, allowed)
    if query is None:
        return source, {}
    options: dict[str, str] = {}
    for pair in query.split("&"):
        key, _, value = pair.partition("=")
        if key not in allowed or not value or key in options:
            raise DataError(f"{source}: {pair!r} is no option of this source; it takes {_listed(allowed)}, each once")
        options[key] = value
    return name, options


def _divided(source: str, allowed: Sequence[str]) -> tuple[str, str | None]:
    """Part what names a source from its options; an address may have a query of its own, which is left to it."""
    if "://" in source:
        start = re.search(rf"\?(?=(?:{'|'.join(allowed)})=)", source)
        return (source[: start.start()], source[start.end() :]) if start else (source, None)
    name, separator, query = source.rpartition("?")
    return (name, query) if separator else (source, None)


def _listed(keys: Sequence[str]) -> str:
    return ", ".join(f"{key}=..." for key in keys)
