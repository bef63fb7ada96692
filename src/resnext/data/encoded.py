"""Labelled images that are kept encoded, in files or in a table, and read when asked for."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from PIL import Image

from resnext.imaging.decode import decode, read


class Store(Protocol):
    """Where encoded images are kept by name."""

    def read(self, name: str) -> bytes:
        """Return an image as it is encoded. Raises `ImageError` where it cannot be read."""
        ...


@dataclass(frozen=True, slots=True)
class Files:
    """Files, by their paths below a folder; an absolute path stands for itself."""

    root: Path

    def read(self, name: str) -> bytes:
        """Return what a file holds. Raises `ImageError` where it cannot be read."""
        return read(self.root / name)

    def stamp(self, name: str) -> str:
        """Return what changes when a file is written anew: its size and time of change; empty where it is gone."""
        try:
            status = (self.root / name).stat()
        except OSError:
            return ""
        return f"{status.st_size} {status.st_mtime_ns}"


@dataclass(frozen=True)
class EncodedImages:
    """Some images of a store, by their names in it, with labels."""

    store: Store
    names: Sequence[str]
    labels: Sequence[int]

    def name(self, index: int) -> str:
        """Return the name of an image."""
        return self.names[index]

    def content(self, index: int) -> bytes:
        """Return an image as it is encoded. Raises `ImageError` where it cannot be read."""
        return self.store.read(self.names[index])

    def image(self, index: int) -> Image.Image:
        """Return an image as RGB. Raises `ImageError` where it cannot be read or decoded."""
        return decode(self.content(index))
