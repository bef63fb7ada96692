"""A file of decoded images that is mapped into memory, and sealed.

It holds, in this order: a seal; the RGB pixels of every image, one after another; their widths and heights, 0 where
there is no image. The seal is a digest of all the rest and of what the images were made from.
"""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from numpy.typing import NDArray
from PIL import Image

_SEAL_BYTES = hashlib.sha256().digest_size
_SIDE = np.dtype("<i4")
_RGB = 3
_CHUNK_BYTES = 2**24


class PackTooLargeError(ValueError):
    """Images take more than they may."""


@dataclass(frozen=True, slots=True)
class PackedPixels:
    """Decoded images: `pixels` (bytes,) of all, `sizes` (images, 2), and `starts` (images,), where each begins."""

    pixels: NDArray[np.uint8]
    sizes: NDArray[np.int32]
    starts: NDArray[np.int64]

    def image(self, number: int) -> Image.Image | None:
        """Return an image by its number, None where there is none."""
        width, height = self.sizes[number].tolist()
        if not width:
            return None
        start = self.starts[number]
        return Image.fromarray(self.pixels[start : start + width * height * _RGB].reshape(height, width, _RGB))


def read_pack(path: Path, origin: bytes, num_images: int) -> PackedPixels | None:
    """Map so many images from a file; None where it is not there, damaged, or made from something else than `origin`.

    It is read once, as a whole, to tell. Raises `OSError` where it cannot be read.
    """
    if not path.is_file() or path.stat().st_size < _SEAL_BYTES:
        return None
    content = np.memmap(path, np.uint8, "r")
    body, digest = content[_SEAL_BYTES:], hashlib.sha256(origin)
    for start in range(0, len(body), _CHUNK_BYTES):
        digest.update(body[start : start + _CHUNK_BYTES].data)
    if content[:_SEAL_BYTES].tobytes() != digest.digest():
        return None
    num_pixel_bytes = len(body) - 2 * num_images * _SIDE.itemsize
    sizes = np.frombuffer(body[num_pixel_bytes:].tobytes(), _SIDE).reshape(num_images, 2)
    lengths = _RGB * sizes.prod(axis=1, dtype=np.int64)
    return PackedPixels(pixels=body[:num_pixel_bytes], sizes=sizes, starts=lengths.cumsum() - lengths)


def write_pack(path: Path, origin: bytes, images: Iterable[Image.Image | None], max_bytes: int) -> None:
    """Write images, sealed with what they were made from, to a file that appears whole or not at all.

    Raises `PackTooLargeError` where they take more than `max_bytes`, and `OSError` where they cannot be written.
    """
    digest, sizes, num_bytes = hashlib.sha256(origin), [], 0
    with TemporaryDirectory(dir=path.parent) as scratch:
        whole = Path(scratch, path.name)
        with whole.open("wb") as file:
            file.write(bytes(_SEAL_BYTES))
            for image in images:
                pixels = b"" if image is None else image.tobytes()
                sizes.append((0, 0) if image is None else image.size)
                num_bytes += len(pixels)
                if num_bytes > max_bytes:
                    raise PackTooLargeError(f"{len(sizes)} images take more than {max_bytes} bytes")
                digest.update(pixels)
                file.write(pixels)
            table = np.asarray(sizes, _SIDE).tobytes()
            digest.update(table)
            file.write(table)
            file.seek(0)
            file.write(digest.digest())
        whole.replace(path)
