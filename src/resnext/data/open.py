"""One string names the data: `digits`, a folder, `cifar10:ROOT`, `cifar100:ROOT`."""

from pathlib import Path

from resnext.data.cifar import open_cifar
from resnext.data.dataset import Data, DataError
from resnext.data.digits import open_digits
from resnext.data.folder import open_folder
from resnext.data.quarantine import read_quarantine, without

KINDS = "'digits', the path of a folder of images, 'cifar10:ROOT' or 'cifar100:ROOT'"


def open_data(
    source: str,
    *,
    download: bool = False,
    strict: bool = False,
    examines: bool = True,
    quarantine: str | Path | frozenset[str] | None = None,
) -> Data:
    """Open a data set by the string that names it.

    `download` lets CIFAR fetch its files where they are missing. With `strict`, every image is decoded first and
    anything that would be worked around is an error. With `examines` false, no image is decoded and damaged ones stay
    in. `quarantine` holds names of images to leave out, or is a file of them, see `read_quarantine`.
    Raises `DataError` where the source is not known or cannot be used.
    """
    names = read_quarantine(Path(quarantine)) if isinstance(quarantine, str | Path) else quarantine or frozenset()
    data = _open(source, names, download=download, examine_all=strict, examines=examines)
    if strict and data.problems:
        lines = "\n  ".join(data.problems)
        raise DataError(f"{source} has {len(data.problems)} problems, and strict allows none:\n  {lines}")
    return data


def _open(source: str, quarantine: frozenset[str], *, download: bool, examine_all: bool, examines: bool) -> Data:
    if source == "digits":
        return without(open_digits(), quarantine)
    kind, separator, root = source.partition(":")
    if separator and kind in ("cifar10", "cifar100"):
        return without(open_cifar(kind, Path(root).expanduser(), download=download), quarantine)
    path = Path(source).expanduser()
    if not path.exists():
        raise DataError(f"no data at {source!r}; data is named by {KINDS}")
    return open_folder(path, examine_all=examine_all, examines=examines, quarantine=quarantine)
