"""What a folder of images holds: the files of every class folder, each looked at once and none opened."""

import os
import time
from array import array
from dataclasses import dataclass, field
from pathlib import Path

from resnext.data.dataset import DataError
from resnext.data.found import SPLIT_NAMES, ClassImages, Found
from resnext.imaging.decode import SUFFIXES

EMPTY_CLASS = "a class folder without images"
IGNORED = "ignored, "

_SUFFIXES = tuple(SUFFIXES)
_COARSEST_CLOCK_NS = 2_000_000_000


@dataclass(slots=True, kw_only=True)
class Listing:
    """The images in class folders, in order of their paths below the root, and how old what was seen is.

    `changed_ns` says when each folder, by its path below the root, was last changed. `is_settled` is false where one
    changed so shortly before it was listed that a coarse clock may give the next change the same time.
    """

    found: Found = field(default_factory=lambda: Found(a_class_is="a folder of images", names_say_classes=True))
    changed_ns: dict[str, int] = field(default_factory=dict)
    is_settled: bool = True


def list_images(root: Path) -> Listing:
    """List the images below a folder.

    Raises `DataError` where it has split folders but none for training.
    """
    listing = Listing()
    top = _folders(root, ".", listing)
    if not _are_splits(root, top):
        for name in top:
            _list_class(root, name, "", listing)
        return listing
    for name in top:
        if name not in SPLIT_NAMES:
            listing.found.problems.append(f"{name}: {IGNORED}not a split folder")
            continue
        for folder in _folders(root, name, listing):
            _list_class(root, folder, SPLIT_NAMES[name], listing)
    return listing


def _are_splits(root: Path, top: list[str]) -> bool:
    """Tell splits from classes; a `train` that holds images itself is a class, perhaps of locomotives."""
    if "train" in top:
        return any(_is_folder(entry) for entry in _entries(root, "train", Listing()))
    if top and set(top) <= set(SPLIT_NAMES):
        raise DataError(f"{root} has {', '.join(sorted(top))} but no train; the classes are fixed by training images")
    return False


def _folders(root: Path, parent: str, listing: Listing) -> list[str]:
    folders = []
    for entry in _entries(root, parent, listing):
        path = _below(parent, entry.name)
        if _is_folder(entry) and not entry.name.startswith("."):
            folders.append(path)
        else:
            listing.found.problems.append(f"{path}: {IGNORED}{_why_ignored(entry.name) or 'not in a class folder'}")
    return folders


def _list_class(root: Path, folder: str, split: str, listing: Listing) -> None:
    """List a class folder and those inside it; links to folders are not followed there, they may lead in circles."""
    paths: list[str] = []
    sizes = array("q")
    pending = [folder]
    while pending:
        parent = pending.pop()
        inner = []
        for entry in _entries(root, parent, listing):
            path = _below(parent, entry.name)
            if _is_folder(entry):
                if not entry.name.startswith(".") and not entry.is_symlink():
                    inner.append(path)
            elif reason := _why_ignored(entry.name):
                listing.found.problems.append(f"{path}: {IGNORED}{reason}")
            else:
                paths.append(path)
                sizes.append(_size(entry))
        pending.extend(reversed(inner))
    if paths:
        name = folder.rpartition("/")[2]
        listing.found.classes.append(ClassImages(split=split, class_name=name, names=paths, sizes=sizes))
    else:
        listing.found.problems.append(f"{folder}: {EMPTY_CLASS}")


def _entries(root: Path, folder: str, listing: Listing) -> list[os.DirEntry[str]]:
    """Return what a folder holds, by name, having noted when it was last changed; nothing where it cannot be read."""
    try:
        # Before looking: what changes while we look must be seen as changed next time.
        changed_ns = (root / folder).stat().st_mtime_ns
        listing.is_settled &= abs(time.time_ns() - changed_ns) > _COARSEST_CLOCK_NS
        with os.scandir(root / folder) as entries:
            found = sorted(entries, key=lambda entry: entry.name)
    except OSError as error:
        listing.found.problems.append(f"{folder}: left out, {error.strerror}")
        listing.is_settled = False
        return []
    listing.changed_ns[folder] = changed_ns
    return found


def _below(parent: str, name: str) -> str:
    return name if parent == "." else f"{parent}/{name}"


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself
        return False


def _size(entry: os.DirEntry[str]) -> int:
    try:
        return entry.stat().st_size
    except OSError:  # a link to nothing: what is wrong is said when the file is read
        return 0


def _why_ignored(name: str) -> str | None:
    if name.startswith("."):
        return "a hidden file"
    return None if name.lower().endswith(_SUFFIXES) else "not an image file"
