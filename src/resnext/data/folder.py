"""A folder of images: class folders, or `train/` and its like with class folders inside."""

import os
from array import array
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain, islice, repeat
from pathlib import Path

from PIL import Image

from resnext.data.dataset import Data, DataError, digest_of
from resnext.data.index import Index, Labelled, Paths, recall, remember
from resnext.data.listing import ClassFolder, list_images
from resnext.data.quarantine import not_found
from resnext.data.split import split_by_content
from resnext.data.threads import in_threads
from resnext.imaging.decode import ImageError, decode, read

MAX_EXAMINED = 20_000
NOT_TRAINED = "left out, a class without training images"

_MOST_NAMED = 5
_HELD_OUT = {"val": 0.1, "test": 0.1}


@dataclass(frozen=True)
class FolderDataset:
    """Image files below a folder, by their paths relative to it."""

    root: Path
    files: Sequence[str]
    labels: Sequence[int]

    def name(self, index: int) -> str:
        """Return the path of an image, relative to the folder."""
        return self.files[index]

    def content(self, index: int) -> bytes:
        """Return the bytes of a file. Raises `ImageError` where it cannot be read."""
        return read(self.root / self.files[index])

    def image(self, index: int) -> Image.Image:
        """Return an image as RGB. Raises `ImageError` where it cannot be read or decoded."""
        return decode(self.content(index))


def open_folder(
    root: Path, *, examine_all: bool = False, examines: bool = True, quarantine: frozenset[str] = frozenset()
) -> Data:
    """Open a folder of images and say what is wrong with it.

    Without split folders, 80/10/10 is divided by content; with `train/` but no validation, a tenth of `train` is.
    Up to 20,000 files are each decoded once here, so that a damaged one is named before training starts; in a
    larger folder it is named when it is met, unless `examine_all` is given. What is found in a larger folder with
    given splits is kept in the user's cache for the next opening; see `recall` for what that cannot notice.
    With `examines` false nothing is decoded, and damaged files stay in. Files named in `quarantine` are passed over as
    if they were not there.
    Raises `DataError` where there is no folder, no image, or fewer than two classes.
    """
    if not root.is_dir():
        raise DataError(f"{root} is not a folder")
    index = None if examine_all or quarantine else recall(root)
    if index is None:
        index = _indexed(root, examine_all=examine_all, examines=examines, quarantine=quarantine)
    return Data(
        source=str(root),
        class_names=index.class_names,
        splits={split: FolderDataset(root, paths, labels) for split, (paths, labels) in index.splits.items()},
        digest=index.digest,
        problems=index.problems,
        has_own_splits=index.has_own_splits,
    )


def _indexed(root: Path, *, examine_all: bool, examines: bool, quarantine: frozenset[str]) -> Index:
    listing = list_images(root)
    problems = listing.problems
    folders = _without(listing.class_folders, quarantine, problems) if quarantine else listing.class_folders
    has_splits = any(folder.split for folder in folders)
    is_small = sum(len(folder.paths) for folder in folders) <= MAX_EXAMINED
    is_settled = listing.is_settled and examines and not quarantine
    if examines and (examine_all or is_small or _is_divided_here(folders)):
        is_settled = False
        folders = _examined(root, folders, problems, decodes=examine_all or is_small)
        problems.extend(_same_in_two_classes(folders))
    elif _is_divided_here(folders):
        folders = _digested(root, folders)
    class_names = _class_names(root, folders, problems)
    known = set(class_names)
    folders = [folder for folder in folders if folder.class_name in known]
    index = Index(
        class_names=class_names,
        splits=_splits(folders, class_names),
        digest=digest_of(_identities(folders, by_size=has_splits)),
        problems=tuple(problems),
        has_own_splits=has_splits,
    )
    if is_settled:
        remember(root, index, listing.changed_ns)
    return index


def _trained(folders: list[ClassFolder]) -> set[str]:
    return {folder.class_name for folder in folders if folder.split in ("", "train")}


def _is_divided_here(folders: list[ClassFolder]) -> bool:
    trained = _trained(folders)
    return not any(folder.split == "val" and folder.class_name in trained for folder in folders)


def _examined(root: Path, folders: list[ClassFolder], problems: list[str], *, decodes: bool) -> list[ClassFolder]:
    """Read every file, digest its content and, where asked, decode it; leave out and note those that fail."""

    def examine(path: str) -> str | ImageError:
        try:
            content = read(root / path)
            if decodes:
                decode(content)
        except ImageError as error:
            return error
        return digest_of([content])

    good = []
    outcomes = in_threads(examine, chain.from_iterable(folder.paths for folder in folders), os.cpu_count() or 1)
    for folder in folders:
        kept: list[tuple[str, int, str]] = []
        for path, size in zip(folder.paths, folder.sizes, strict=True):
            outcome = next(outcomes)
            if isinstance(outcome, ImageError):
                problems.append(f"{path}: left out, {outcome}")
            else:
                kept.append((path, size, outcome))
        if kept:
            paths, sizes, contents = zip(*kept, strict=True)
            good.append(replace(folder, paths=paths, sizes=sizes, contents=contents))
    return good


def _digested(root: Path, folders: list[ClassFolder]) -> list[ClassFolder]:
    """Read every file and digest its content; one that cannot be read stays in, under a digest of its path."""

    def digest(path: str) -> str:
        try:
            return digest_of([read(root / path)])
        except ImageError:
            return digest_of([path])

    digests = in_threads(digest, chain.from_iterable(folder.paths for folder in folders), os.cpu_count() or 1)
    return [replace(folder, contents=tuple(islice(digests, len(folder.paths)))) for folder in folders]


def _without(folders: list[ClassFolder], quarantine: frozenset[str], problems: list[str]) -> list[ClassFolder]:
    """Return class folders without the files in quarantine, and note names that no file has."""
    missing = set(quarantine)
    rest = []
    for folder in folders:
        kept = [(path, size) for path, size in zip(folder.paths, folder.sizes, strict=True) if path not in quarantine]
        missing.difference_update(folder.paths)
        if kept:
            paths, sizes = zip(*kept, strict=True)
            rest.append(replace(folder, paths=paths, sizes=sizes))
    problems.extend(not_found(missing))
    return rest


def _same_in_two_classes(folders: list[ClassFolder]) -> Iterator[str]:
    first: dict[str, tuple[str, str]] = {}
    for folder in folders:
        for path, content in zip(folder.paths, folder.contents, strict=True):
            class_name, other = first.setdefault(content, (folder.class_name, path))
            if class_name != folder.class_name:
                yield f"{path}: the same image as {other}, which is in another class"


def _class_names(root: Path, folders: list[ClassFolder], problems: list[str]) -> tuple[str, ...]:
    """Fix the classes by the training images, and note those that only other splits have."""
    names = _trained(folders)
    for name in sorted({folder.class_name for folder in folders} - names):
        problems.append(f"{name}: {NOT_TRAINED}")
    if len(names) < 2:
        found = f"only the class {min(names)!r}" if names else "no images in class folders"
        wrong = f"; what is wrong: {'; '.join(problems[:_MOST_NAMED])}" if problems else ""
        raise DataError(f"{root}: found {found}; at least two classes are needed, a folder of images for each{wrong}")
    return tuple(sorted(names))


def _identities(folders: list[ClassFolder], *, by_size: bool) -> Iterator[str]:
    """Yield what tells every file from its like: its path and its size, or its path and its content."""
    for folder in folders:
        for path, what in zip(folder.paths, folder.sizes if by_size else folder.contents, strict=True):
            yield f"{path}:{what}"


def _splits(folders: list[ClassFolder], class_names: tuple[str, ...]) -> dict[str, Labelled]:
    label_of = {name: label for label, name in enumerate(class_names)}
    by_split: dict[str, list[ClassFolder]] = defaultdict(list)
    for folder in folders:
        by_split[folder.split or "train"].append(folder)
    splits = {split: _labelled(chosen, label_of) for split, chosen in by_split.items()}
    if "val" not in splits:
        fractions = {"val": _HELD_OUT["val"]} if "test" in splits else _HELD_OUT
        contents = [content for folder in by_split["train"] for content in folder.contents]
        splits.update(_divided(splits["train"], contents, fractions))
    return splits


def _labelled(folders: list[ClassFolder], label_of: dict[str, int]) -> Labelled:
    labels = array("i")
    for folder in folders:
        labels.extend(repeat(label_of[folder.class_name], len(folder.paths)))
    return Labelled(Paths.of(path for folder in folders for path in folder.paths), labels)


def _divided(train: Labelled, contents: Sequence[str], fractions: dict[str, float]) -> dict[str, Labelled]:
    divided = split_by_content(train.labels, contents, fractions)
    return {
        split: Labelled(Paths.of(train.paths[i] for i in indices), array("i", [train.labels[i] for i in indices]))
        for split, indices in divided.items()
        if indices
    }
