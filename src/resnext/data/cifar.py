"""`cifar10:ROOT` and `cifar100:ROOT`: the files that torchvision downloads and reads, without executing a pickle."""

import pickle
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from resnext.data.dataset import ArrayDataset, Data, DataError, digest_of
from resnext.spec.preprocessing import Colour

_ADMITTED = {
    ("numpy", "dtype"),
    ("numpy", "ndarray"),
    ("numpy.core.multiarray", "_reconstruct"),
    ("numpy._core.multiarray", "_reconstruct"),
    ("_codecs", "encode"),
}


@dataclass(frozen=True, kw_only=True)
class _Layout:
    """Where one of the two sets keeps what: its folder, its files, and its keys in them.

    `mean` and `std` of the training pixels, as bytes, are the figures in the authors' code.
    """

    folder: str
    files: dict[str, tuple[str, ...]]
    meta: str
    labels: bytes
    class_names: str
    mean: Colour
    std: Colour


_LAYOUTS = {
    "cifar10": _Layout(
        folder="cifar-10-batches-py",
        files={"train": tuple(f"data_batch_{number}" for number in range(1, 6)), "test": ("test_batch",)},
        meta="batches.meta",
        labels=b"labels",
        class_names="label_names",
        mean=(125.3, 123.0, 113.9),
        std=(63.0, 62.1, 66.7),
    ),
    "cifar100": _Layout(
        folder="cifar-100-python",
        files={"train": ("train",), "test": ("test",)},
        meta="meta",
        labels=b"fine_labels",
        class_names="fine_label_names",
        mean=(129.3, 124.1, 112.4),
        std=(68.2, 65.4, 70.4),
    ),
}


class _ArrayUnpickler(pickle.Unpickler):
    """An unpickler that admits numpy arrays and plain containers, and refuses everything that could execute."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) in _ADMITTED:
            return super().find_class(module, name)
        raise DataError(f"the file asks for {module}.{name}, which a CIFAR batch does not need; it is not one")


def open_cifar(kind: str, root: Path, *, download: bool = False) -> Data:
    """Open CIFAR-10 or CIFAR-100 under `root`, as torchvision lays it out.

    There is no validation split: as the authors do, the test set is scored each epoch and the best chosen on it.
    Raises `DataError` where files are missing or damaged. `download` fetches them first where they are missing.
    """
    layout = _LAYOUTS[kind]
    folder = root / layout.folder
    if download and not folder.is_dir():
        _download(kind, root)
    if not folder.is_dir():
        raise DataError(f"{folder} does not exist; give the folder that holds it, or --download to fetch it")
    class_names = _read_class_names(folder / layout.meta, layout.class_names)
    splits = {split: _read_split(folder, layout, split) for split in ("train", "test")}
    for name, split in splits.items():
        if any(not 0 <= label < len(class_names) for label in split.labels):
            raise DataError(f"{folder}: {name} has labels outside 0 to {len(class_names) - 1}, the classes there are")
    return Data(
        source=kind,
        class_names=class_names,
        splits=splits,
        selection="test",
        digest=digest_of(part for split in splits.values() for part in (split.pixels.tobytes(), bytes(split.labels))),
        colour_mean=_of_one(layout.mean),
        colour_std=_of_one(layout.std),
    )


def _of_one(colour: Colour) -> Colour:
    red, green, blue = colour
    return red / 255, green / 255, blue / 255


def _download(kind: str, root: Path) -> None:
    """Fetch and unpack an archive from where torchvision gets it, checked against its MD5."""
    from torchvision import datasets  # noqa: PLC0415 - takes seconds, and only a download needs it
    from torchvision.datasets.utils import download_and_extract_archive  # noqa: PLC0415

    archive = {"cifar10": datasets.CIFAR10, "cifar100": datasets.CIFAR100}[kind]
    try:
        download_and_extract_archive(archive.url, str(root), filename=archive.filename, md5=archive.tgz_md5)
    except (OSError, RuntimeError) as error:
        raise DataError(f"{archive.url} cannot be fetched into {root}: {error}") from None


def _read_class_names(path: Path, key: str) -> tuple[str, ...]:
    names = _load(path, encoding="latin1").get(key)
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise DataError(f"{path} holds no class names; unpack the archive again")
    return tuple(names)


def _read_split(folder: Path, layout: _Layout, split: str) -> ArrayDataset:
    batches = [_load(folder / name, encoding="bytes") for name in layout.files[split]]
    try:
        planes = np.concatenate([batch[b"data"] for batch in batches]).reshape(-1, 3, 32, 32)
        labels = [int(label) for batch in batches for label in batch[layout.labels]]
    except (KeyError, ValueError, TypeError) as error:
        raise DataError(f"{folder}: the {split} files are not CIFAR batches ({error})") from None
    if len(labels) != len(planes) or planes.dtype != np.uint8:
        raise DataError(f"{folder}: {len(planes)} images of type {planes.dtype} but {len(labels)} labels in {split}")
    pixels = np.ascontiguousarray(planes.transpose(0, 2, 3, 1))
    return ArrayDataset(f"{folder.name}/{split}", pixels, labels)


def _load(path: Path, encoding: str) -> dict[Any, Any]:
    try:
        with path.open("rb") as file:
            content = _ArrayUnpickler(file, encoding=encoding).load()
    except FileNotFoundError:
        raise DataError(f"{path} is missing; unpack the archive again") from None
    except DataError as error:
        raise DataError(f"{path}: {error}") from None
    except Exception as error:  # damaged pickles raise almost anything
        raise DataError(f"{path} is damaged: {error}") from None
    if not isinstance(content, dict):
        raise DataError(f"{path} holds a {type(content).__name__}, not a CIFAR batch")
    return content
