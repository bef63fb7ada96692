"""Samples in a tar file: neighbouring files of one name, told apart by their suffixes.

The webdataset library says which files are one sample. Its own way of reading is not taken: it hands addresses to a
shell, reads every image to find the labels, and takes a file that is damaged in its middle for one that ends there.
"""

import http.client
import lzma
import shutil
import tarfile
import urllib.request
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO, Any, Self

from resnext.data.dataset import DataError
from resnext.imaging.decode import MAX_FILE_BYTES, SUFFIXES

_TIMEOUT_SECONDS = 60
_MAX_HEADER_BYTES = 2**20
_EXTENDED_HEADERS = (
    tarfile.XHDTYPE,
    tarfile.XGLTYPE,
    tarfile.SOLARIS_XHDTYPE,
    tarfile.GNUTYPE_LONGNAME,
    tarfile.GNUTYPE_LONGLINK,
)
_DAMAGE = (tarfile.TarError, OSError, EOFError, ValueError, RecursionError, zlib.error, lzma.LZMAError)


class ShardError(OSError):
    """A shard that cannot be read; the message names it."""


class _Header(tarfile.TarInfo):
    """The header of a file, refused where Python would read more for it than a name can be: it reads all at once.

    A sparse file is refused too: no image needs to be one, and the map of its holes has no bounds.
    """

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> Self:
        """Take a header apart. Raises `tarfile.TarError` where it has too long an extension."""
        header = super().frombuf(buf, encoding, errors)
        if header.type in _EXTENDED_HEADERS and header.size > _MAX_HEADER_BYTES:
            raise tarfile.TarError(f"a header of {header.size:,} bytes, more than the {_MAX_HEADER_BYTES:,} allowed")
        return header

    def _refuse_sparse(self, *_: object) -> None:
        raise tarfile.TarError("a sparse file, as tar --sparse writes them, which no image needs to be")

    # What Python calls to read a map of holes: GNU's own, and the three that PAX headers may hold.
    _proc_sparse = _proc_gnusparse_00 = _proc_gnusparse_01 = _proc_gnusparse_10 = _refuse_sparse


@dataclass(frozen=True, slots=True)
class Entry:
    """One sample of an open tar file: its files by their suffixes in small letters, without the first dot."""

    shard: str
    tar: tarfile.TarFile
    files: Mapping[str, tarfile.TarInfo]

    @property
    def image(self) -> tarfile.TarInfo | None:
        """The first file that has the suffix of an image."""
        return next((file for suffix, file in self.files.items() if f".{suffix}" in SUFFIXES), None)

    @property
    def name(self) -> str:
        """What messages call it: the shard, and its image or its first file."""
        file = self.image or next(iter(self.files.values()))
        return f"{self.shard}/{file.name}"

    def read(self, file: tarfile.TarInfo, limit: int = MAX_FILE_BYTES) -> bytes:
        """Return what a file of the sample holds; nothing where that is more than the limit.

        Raises `ShardError` where the shard is damaged.
        """
        if file.size > limit:
            return b""
        with _named(self.shard):
            stream = self.tar.extractfile(file)
            assert stream is not None, "only files are taken for members of a sample"
            content = stream.read()
            if len(content) < file.size:
                raise EOFError("it ends too early")
            return content


def entries(shard: str) -> Iterator[Entry]:
    """Yield the samples of a shard, a local path or an http(s) address, in stored order; each while it is asked for.

    Raises `ShardError` where the shard is missing or damaged, and `OSError` where it cannot be fetched.
    """
    with _opened(shard) as file:
        if not file.read(1):
            return
        file.seek(0)
        with _named(shard), tarfile.open(fileobj=file, mode="r:*", tarinfo=_Header) as tar:
            yield from (Entry(shard, tar, files) for files in _grouped(shard, tar))
            _check_end(tar)


def _grouped(shard: str, tar: tarfile.TarFile) -> Iterator[dict[str, tarfile.TarInfo]]:
    from webdataset.tariterators import group_by_keys  # noqa: PLC0415 - an extra; `open_wds` says so where it is missing

    for sample in group_by_keys({"fname": info.name, "data": info, "__url__": shard} for info in _files(tar)):
        yield {suffix: info for suffix, info in sample.items() if isinstance(info, tarfile.TarInfo)}


def _files(tar: tarfile.TarFile) -> Iterator[tarfile.TarInfo]:
    while (info := tar.next()) is not None:
        if info.isreg():
            yield info


def _check_end(tar: tarfile.TarFile) -> None:
    """Make sure that the end is one: Python takes whatever is no header for it."""
    file: Any = tar.fileobj
    file.seek(tar.offset)
    block = file.read(tarfile.BLOCKSIZE)
    if not block:
        raise EOFError("it ends too early")
    if block.strip(b"\0"):
        raise tarfile.TarError(f"no header of a file at byte {tar.offset}")


@contextmanager
def _named(shard: str) -> Iterator[None]:
    """Say of what is wrong in which shard it is."""
    try:
        yield
    except ShardError:
        raise
    except _DAMAGE as error:
        reason = str(error.args[0]).splitlines()[0].rstrip(":") if error.args else type(error).__name__
        raise ShardError(f"{shard}: a damaged shard, {reason}; write or fetch it again") from None


@contextmanager
def _opened(shard: str) -> Iterator[IO[bytes]]:
    """Open a shard so that it can be searched; one from the network is fetched whole into a temporary file."""
    if is_address(shard):
        with TemporaryFile() as file:
            try:
                with urllib.request.urlopen(shard, timeout=_TIMEOUT_SECONDS) as response:
                    shutil.copyfileobj(response, file)
            except (OSError, http.client.HTTPException, ValueError) as error:
                raise OSError(f"{shard} cannot be fetched: {error}") from None
            file.seek(0)
            yield file
        return
    try:
        local = Path(shard).expanduser().open("rb")
    except OSError as error:
        raise ShardError(f"{shard}: {error.strerror}") from None
    with local:
        yield local


def is_address(shard: str) -> bool:
    """Tell an address to fetch from a local path. Raises `DataError` where it is neither, such as a command."""
    scheme, separator, _ = shard.partition(":")
    if not separator or "/" in scheme:
        return False
    if scheme.lower() in ("http", "https"):
        return True
    raise DataError(f"wds: {shard!r} is neither a local path nor an http or https address")
