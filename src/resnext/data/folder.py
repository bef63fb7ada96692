"""A folder of images: class folders, or `train/` and its like with class folders inside."""

import os
from collections import defaultdict
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from resnext.data.dataset import Data, DataError, digest_of
from resnext.data.split import split_by_content
from resnext.imaging.decode import SUFFIXES, ImageError, decode, read

SPLIT_FOLDERS = {"train": "train", "val": "val", "valid": "val", "validation": "val", "test": "test"}
MAX_EXAMINED = 20_000

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

    def image(self, index: int) -> Image.Image:
        """Return an image as RGB. Raises `ImageError` where it cannot be read or decoded."""
        return decode(read(self.root / self.files[index]))


@dataclass(frozen=True, slots=True)
class _File:
    """An image file: its path below the folder, its split (empty where there are none), class, size and content."""

    path: str
    split: str
    class_name: str
    size: int
    content: str = ""


def open_folder(root: Path, *, examine_all: bool = False) -> Data:
    """Open a folder of images and say what is wrong with it.

    Without split folders, 80/10/10 is divided by content; with `train/` but no validation, a tenth of `train` is.
    Up to 20,000 files are each decoded once here, so that a damaged one is named before training starts; in a
    larger folder it is named when it is met, unless `examine_all` is given.
    Raises `DataError` where there is no folder, no image, or fewer than two classes.
    """
    if not root.is_dir():
        raise DataError(f"{root} is not a folder")
    problems: list[str] = []
    files = list(_listed(root, problems))
    has_splits = any(file.split for file in files)
    is_divided_here = not any(file.split == "val" for file in files)
    if examine_all or is_divided_here or len(files) <= MAX_EXAMINED:
        files = _examined(root, files, problems, decodes=examine_all or len(files) <= MAX_EXAMINED)
        problems.extend(_same_in_two_classes(files))
    class_names = _class_names(root, files, problems)
    files = [file for file in files if file.class_name in class_names]
    return Data(
        source=str(root),
        class_names=class_names,
        splits=_splits(root, files, class_names),
        digest=digest_of(f"{file.path}:{file.size if has_splits else file.content}" for file in files),
        problems=tuple(problems),
        has_own_splits=has_splits,
    )


def _listed(root: Path, problems: list[str]) -> Iterator[_File]:
    """Yield the image files of every class folder, in order of their paths, and note what is passed over."""
    top = _folders(root, root, problems)
    if not _are_splits(root, top):
        for folder in top:
            yield from _class_files(root, folder, "", problems)
        return
    for split_folder in top:
        if split_folder.name not in SPLIT_FOLDERS:
            problems.append(f"{split_folder.name}: ignored, not a split folder")
            continue
        for folder in _folders(root, split_folder, problems):
            yield from _class_files(root, folder, SPLIT_FOLDERS[split_folder.name], problems)


def _are_splits(root: Path, top: list[Path]) -> bool:
    """Tell splits from classes; a `train` that holds images itself is a class, perhaps of locomotives."""
    names = {folder.name for folder in top}
    if "train" in names:
        return any(entry.is_dir() for entry in (root / "train").iterdir())
    if names and names <= set(SPLIT_FOLDERS):
        raise DataError(f"{root} has {', '.join(sorted(names))} but no train; the classes are fixed by training images")
    return False


def _folders(root: Path, parent: Path, problems: list[str]) -> list[Path]:
    folders = []
    for entry in sorted(parent.iterdir()):
        if entry.is_dir() and not entry.name.startswith("."):
            folders.append(entry)
        else:
            problems.append(
                f"{entry.relative_to(root)}: ignored, {_why_ignored(entry.name) or 'not in a class folder'}"
            )
    return folders


def _class_files(root: Path, folder: Path, split: str, problems: list[str]) -> Iterator[_File]:
    num_files = 0
    for parent, subfolders, names in os.walk(folder):
        subfolders[:] = sorted(name for name in subfolders if not name.startswith("."))
        for name in sorted(names):
            full = Path(parent, name)
            path = full.relative_to(root).as_posix()
            if reason := _why_ignored(name):
                problems.append(f"{path}: ignored, {reason}")
                continue
            num_files += 1
            yield _File(path, split, folder.name, full.stat().st_size if full.exists() else 0)
    if num_files == 0:
        problems.append(f"{folder.relative_to(root).as_posix()}: a class folder without images")


def _why_ignored(name: str) -> str | None:
    if name.startswith("."):
        return "a hidden file"
    return None if Path(name).suffix.lower() in SUFFIXES else "not an image file"


def _examined(root: Path, files: list[_File], problems: list[str], *, decodes: bool) -> list[_File]:
    """Read every file, digest its content and, where asked, decode it; leave out and note those that fail."""

    def examine(file: _File) -> _File | str:
        try:
            content = read(root / file.path)
            if decodes:
                decode(content)
        except ImageError as error:
            return f"{file.path}: left out, {error}"
        return _File(file.path, file.split, file.class_name, file.size, digest_of([content]))

    good = []
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for outcome in pool.map(examine, files):
            if isinstance(outcome, str):
                problems.append(outcome)
            else:
                good.append(outcome)
    return good


def _same_in_two_classes(files: list[_File]) -> Iterator[str]:
    first: dict[str, _File] = {}
    for file in files:
        other = first.setdefault(file.content, file)
        if other.class_name != file.class_name:
            yield f"{file.path}: the same image as {other.path}, which is in another class"


def _class_names(root: Path, files: list[_File], problems: list[str]) -> tuple[str, ...]:
    """Fix the classes by the training images, and note those that only other splits have."""
    names = {file.class_name for file in files if file.split in ("", "train")}
    for name in sorted({file.class_name for file in files} - names):
        problems.append(f"{name}: left out, a class without training images")
    if len(names) < 2:
        found = f"only the class {min(names)!r}" if names else "no images in class folders"
        wrong = f"; what is wrong: {'; '.join(problems[:_MOST_NAMED])}" if problems else ""
        raise DataError(f"{root}: found {found}; at least two classes are needed, a folder of images for each{wrong}")
    return tuple(sorted(names))


def _splits(root: Path, files: list[_File], class_names: tuple[str, ...]) -> dict[str, FolderDataset]:
    label_of = {name: label for label, name in enumerate(class_names)}
    by_split: dict[str, list[_File]] = defaultdict(list)
    for file in files:
        by_split[file.split or "train"].append(file)
    if "val" not in by_split:
        fractions = {"val": _HELD_OUT["val"]} if "test" in by_split else _HELD_OUT
        by_split.update(_divided(by_split["train"], label_of, fractions))
    return {
        split: FolderDataset(root, [file.path for file in chosen], [label_of[file.class_name] for file in chosen])
        for split, chosen in by_split.items()
        if chosen
    }


def _divided(files: list[_File], label_of: dict[str, int], fractions: dict[str, float]) -> dict[str, list[_File]]:
    labels = [label_of[file.class_name] for file in files]
    indices = split_by_content(labels, [file.content for file in files], fractions)
    return {name: [files[i] for i in chosen] for name, chosen in indices.items()}
