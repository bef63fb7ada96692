"""From what a user names, files, folders and patterns, to the paths of single images."""

from collections.abc import Iterable, Iterator
from glob import glob, has_magic
from pathlib import Path

from resnext.imaging.decode import SUFFIXES


def image_paths(sources: Iterable[str]) -> Iterator[str]:
    """Yield the path of every image that the sources name, in order.

    A folder stands for the image files anywhere below it that are not hidden, a pattern for what it matches;
    anything else is yielded as it is, so that a missing file is met, and named, where it is read.
    """
    for source in sources:
        try:
            yield from _paths_of(source)
        except OSError:
            yield source


def _paths_of(source: str) -> list[str]:
    path = Path(source)
    if path.is_dir():
        return sorted(str(file) for file in path.rglob("*") if _is_image(file.relative_to(path)) and file.is_file())
    if has_magic(source) and not path.exists():
        return sorted(glob(source, recursive=True)) or [source]  # noqa: PTH207 - may be absolute
    return [source]


def _is_image(path: Path) -> bool:
    return path.suffix.lower() in SUFFIXES and not any(part.startswith(".") for part in path.parts)
