"""The images of a folder, decoded once into one file, which later epochs and runs map into memory."""

import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from statistics import fmean

import PIL
from PIL import Image, features

from resnext.data.content import undecoded
from resnext.data.dataset import Data, DataError, digest_of
from resnext.data.encoded import EncodedImages, Files
from resnext.data.packfile import PackedPixels, PackTooLargeError, read_pack, write_pack
from resnext.data.sample import sample
from resnext.imaging.decode import ImageError
from resnext.imaging.threads import in_threads

MAX_PACKED_BYTES = 16 * 10**9

_FORMAT = "1"  # raise it whenever the same images would be packed otherwise
_DECODERS = ("libjpeg_turbo", "webp", "libtiff")
_SAMPLE = 64
_LETTERS = 16
_RGB = 3

Splits = Mapping[str, EncodedImages]


@dataclass(frozen=True, slots=True, kw_only=True)
class Pack:
    """The file of packed images: where it lies, how large it is, and whether it was made just now."""

    path: Path
    num_bytes: int
    is_new: bool


@dataclass(frozen=True)
class Packed:
    """Images of a folder whose pixels lie in a file of decoded ones, from its image number `first` on."""

    images: EncodedImages
    pixels: PackedPixels
    first: int

    @property
    def labels(self) -> Sequence[int]:
        """The class of every image."""
        return self.images.labels

    def name(self, index: int) -> str:
        """Return the name of an image."""
        return self.images.name(index)

    def content(self, index: int) -> bytes:
        """Return an image as it is encoded, from the folder. Raises `ImageError` where it cannot be read."""
        return self.images.content(index)

    def image(self, index: int) -> Image.Image:
        """Return an image as RGB. Raises `ImageError` where it could not be decoded with the others, and cannot now."""
        return self.pixels.image(self.first + index) or self.images.image(index)


def pack(data: Data, folder: Path) -> tuple[Data, Pack]:
    """Return data whose images are read from a file of decoded ones in a folder, made now where there is none.

    Images, and so all that is learnt, are the same as without it. Of a source of data there is one file in a folder;
    one that is damaged, or older than the images, is made anew.
    Raises `DataError` where the data is no folder or list of image files, or its images, decoded, would take more than
    `MAX_PACKED_BYTES` or than is free, and `OSError` where the file cannot be read or written.
    """
    splits = _files_of(data)
    if folder.exists() and not folder.is_dir():
        raise DataError(f"--cache {folder}: a file, and a folder is needed to keep packed images in")
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{digest_of([data.source])[:_LETTERS]}.pixels"
    origin, num_images = _origin(data, splits), sum(len(images.names) for images in splits.values())
    pixels = read_pack(path, origin, num_images)
    is_new = pixels is None
    if pixels is None:
        _make(data, splits, path, origin)
        pixels = read_pack(path, origin, num_images)
    if pixels is None:
        raise OSError(f"{path} was damaged while it was written; see whether the disk is sound")
    return _under(data, splits, pixels), Pack(path=path, num_bytes=path.stat().st_size, is_new=is_new)


def _files_of(data: Data) -> Splits:
    """Return the splits. Raises `DataError` where images are not kept in files that can be read in any order."""
    splits = {name: split for name, split in data.splits.items() if isinstance(split, EncodedImages)}
    if len(splits) < len(data.splits) or not all(isinstance(images.store, Files) for images in splits.values()):
        raise DataError(f"--cache: {data.source} is no folder or list of image files, and only these are packed")
    return splits


def _origin(data: Data, splits: Splits) -> bytes:
    """Return a digest of what packed images are made from: the files, as far as they tell unread, and the decoders."""
    decoders = [PIL.__version__, *(str(features.version(name)) for name in _DECODERS)]
    files = (
        f"{name} {images.store.stamp(name)}"
        for images in splits.values()
        if isinstance(images.store, Files)
        for name in images.names
    )
    return digest_of(chain([_FORMAT, data.digest, *decoders], files)).encode()


def _make(data: Data, splits: Splits, path: Path, origin: bytes) -> None:
    """Decode all images into a file. Raises `DataError` where they take too much, by a sample or indeed."""
    num_images, free_bytes = sum(len(images.names) for images in splits.values()), shutil.disk_usage(path.parent).free
    allowed = min(MAX_PACKED_BYTES, free_bytes)
    expected = round(num_images * _mean_bytes(splits["train"]))
    if expected > allowed:
        raise DataError(_too_large(data, f"about {expected / 1e9:,.2f} GB", allowed))
    try:
        write_pack(path, origin, _decoded(splits), allowed)
    except PackTooLargeError:
        raise DataError(_too_large(data, f"more than {expected / 1e9:,.2f} GB", allowed)) from None


def _too_large(data: Data, size: str, allowed: int) -> str:
    return (
        f"--cache: the images of {data.source}, decoded, take {size}, and {allowed / 1e9:,.2f} GB may be used; leave"
        " --cache out, or make the images smaller"
    )


def _mean_bytes(images: EncodedImages) -> float:
    """Return the mean size of an image, decoded, by the headers of some."""
    sizes = []
    for picture in sample(images, _SAMPLE):
        try:
            width, height = undecoded(picture).size
        except ImageError:
            continue
        sizes.append(_RGB * width * height)
    return fmean(sizes or [0])


def _decoded(splits: Splits) -> Iterator[Image.Image | None]:
    everywhere = ((images, index) for images in splits.values() for index in range(len(images.names)))
    return in_threads(lambda place: _image(*place), everywhere, os.cpu_count() or 1)


def _image(images: EncodedImages, index: int) -> Image.Image | None:
    try:
        return images.image(index)
    except ImageError:
        return None


def _under(data: Data, splits: Splits, pixels: PackedPixels) -> Data:
    packed, first = {}, 0
    for name, images in splits.items():
        packed[name] = Packed(images, pixels, first)
        first += len(images.names)
    return replace(data, splits=packed)
