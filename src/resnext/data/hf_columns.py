"""Which columns of a table hold the images and their labels, and how they are read without decoding an image."""

from array import array
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from resnext.data.dataset import DataError

_ROWS_AT_A_TIME = 1000


@dataclass(frozen=True, slots=True)
class LabelColumn:
    """A column of labels; `class_names` are what its numbers stand for, where it says so."""

    name: str
    class_names: tuple[str, ...] | None

    def text(self, value: Any) -> str:
        """Return a label as text; empty where there is none."""
        if self.class_names is None or not isinstance(value, int):
            return "" if value is None else str(value).strip()
        return self.class_names[value] if 0 <= value < len(self.class_names) else ""

    def texts(self, table: Any) -> list[str]:
        """Return all labels of a table."""
        column = table.select_columns([self.name]).with_format("arrow")[:].column(self.name)
        return [self.text(value) for value in column.to_pylist()]


@dataclass(frozen=True, slots=True)
class Columns:
    """The columns of images and of labels."""

    image: str
    label: LabelColumn

    def undecoded(self, source: str, table: Any) -> Any:
        """Return a table, or a stream of rows, whose images come as they are encoded."""
        from datasets import Image  # noqa: PLC0415 - an extra

        try:
            return table.cast_column(self.image, Image(decode=False))
        except Exception as error:  # what the library raises is no family
            raise DataError(f"{source}: column {self.image!r} holds no images ({error})") from None

    def sizes(self, table: Any) -> "array[int]":
        """Return the number of bytes of every image, without reading them."""
        from pyarrow import compute  # noqa: PLC0415 - comes with an extra

        sizes = array("q")
        for rows in table.select_columns([self.image]).with_format("arrow").iter(_ROWS_AT_A_TIME):
            images = rows.column(self.image)
            lengths = compute.binary_length(compute.struct_field(images, "bytes")).to_pylist()
            paths = compute.struct_field(images, "path").to_pylist()
            sizes.extend(
                _file_size(path) if length is None else length for length, path in zip(lengths, paths, strict=True)
            )
        return sizes


def find_columns(source: str, tables: Mapping[str, Any], options: Mapping[str, str]) -> Columns:
    """Return the column of images and that of labels: those that options name, or else the only ones of their kind.

    Raises `DataError`, with the columns there are, where none or several could be meant.
    """
    from datasets import ClassLabel, Image, Value  # noqa: PLC0415 - an extra

    features = tables[min(tables, key=lambda name: name != "train")].features
    if features is None:
        raise DataError(f"{source} does not say which columns it has until it is read; leave streaming=true out")
    image = _column(
        source, "image", [name for name in features if isinstance(features[name], Image)], features, options
    )
    classes = [name for name in features if isinstance(features[name], ClassLabel)]
    label = _column(source, "label", classes, features, options)
    kind = features[label]
    is_plain = isinstance(kind, Value) and (kind.dtype in ("string", "large_string") or "int" in kind.dtype)
    if label not in classes and not is_plain:
        raise DataError(f"{source}: column {label!r} holds neither text nor whole numbers, but {kind}")
    return Columns(image, LabelColumn(label, tuple(kind.names) if label in classes else None))


def _column(
    source: str, what: str, candidates: list[str], features: Mapping[str, Any], options: Mapping[str, str]
) -> str:
    if what in options:
        if options[what] not in features:
            raise DataError(f"{source} has no column {options[what]!r}; it has {', '.join(features)}")
        return options[what]
    if len(candidates) == 1:
        return candidates[0]
    kind = {"image": "images", "label": "classes"}[what]
    if candidates:
        said = f"{len(candidates)} columns of {kind}, {', '.join(candidates)}"
    else:
        said = f"no column that it calls one of {kind}, among {', '.join(features)}"
    raise DataError(f"{source} has {said}; ?{what}=COLUMN names the one to take")


def _file_size(path: str | None) -> int:
    try:
        return Path(path).stat().st_size if path else 0
    except OSError:
        return 0
