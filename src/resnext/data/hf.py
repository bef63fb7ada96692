"""`hf:NAME_OR_PATH`: tables of images that the datasets library reads, of the hub or local, by index or in order."""

from array import array
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from resnext.data.dataset import Data, DataError
from resnext.data.examine import data_of, examined, indexed
from resnext.data.found import SPLIT_NAMES, USUAL, Admission, ClassImages, Found, home_and_place, numbered
from resnext.data.hf_columns import Columns, find_columns
from resnext.data.hf_described import check_folder, checked_commit
from resnext.data.scan import Scanned, stream_data
from resnext.imaging.decode import MAX_FILE_BYTES, ImageError, read

OPTIONS = ("config", "image", "label", "revision", "streaming")


@dataclass(frozen=True)
class Rows:
    """Images in tables, by the split that a table is of and their row, such as `train[17]`."""

    tables: Mapping[str, Any]
    column: str

    def read(self, name: str) -> bytes:
        """Return the image of a row, as it is encoded. Raises `ImageError` where there is none."""
        split, row = home_and_place(name)
        return _content(self.tables[split][row][self.column])


@dataclass(frozen=True)
class RowShards:
    """Reads tables in order, by the files that they are made of, such as `train/0`."""

    tables: Mapping[str, Any]
    columns: Columns

    def read(self, shard: str) -> Iterator[tuple[str, bytes]]:
        """Yield the name and the image of every row of a shard. Raises `OSError` where it cannot be read."""
        image = self.columns.image
        try:
            for place, row in enumerate(self._rows(shard, [image])):
                yield numbered(shard, place), _content_or_nothing(row[image])
        except Exception as error:  # what the library and those below it raise is no family
            raise OSError(f"hf: {shard} cannot be read: {_first_line(error)}") from None

    def scan(self, shard: str, *, reads: bool) -> Iterator[Scanned]:
        """Yield what is seen of every row of a shard. Raises `DataError` where it cannot be read."""
        image, label = self.columns.image, self.columns.label
        try:
            for place, row in enumerate(self._rows(shard, [image, label.name] if reads else [label.name])):
                content = _content_or_nothing(row[image]) if reads else b""
                class_name = label.text(row[label.name])
                problem = "without an image" if reads and not content else "" if class_name else "without a label"
                name = numbered(shard, place)
                yield Scanned(name=name, label=class_name, size=len(content), content=content, problem=problem)
        except Exception as error:
            raise DataError(f"hf: {shard} cannot be read: {_first_line(error)}") from None

    def _rows(self, shard: str, columns: list[str]) -> Iterator[dict[str, Any]]:
        split, _, number = shard.rpartition("/")
        table = self.tables[split].select_columns(columns)
        yield from table.shard(num_shards=table.num_shards, index=int(number))


def open_hf(name: str, options: Mapping[str, str], admission: Admission = USUAL) -> Data:
    """Open a data set of the hub by its name, or a local folder of parquet or arrow files or of `save_to_disk`.

    `config` and `revision` choose what of the hub; `image` and `label` name columns where there is more than one that
    could be meant; `streaming=true` reads in order and keeps nothing. Images are decoded here, not by the library, and
    no code that comes with data is run.
    Raises `DataError` where the data cannot be used, and `OSError` where the hub does not answer.
    """
    if find_spec("datasets") is None:
        raise DataError("hf: needs datasets; pip install 'resnext[hub]'")
    if options.get("streaming", "false") not in ("true", "false"):
        raise DataError(f"hf:{name}: streaming = {options['streaming']!r}: true or false")
    source, is_stream = f"hf:{name}", options.get("streaming") == "true"
    opened = _opened(name, options, is_stream=is_stream)
    columns = find_columns(source, opened, options)
    splits, problems = _splits(source, opened)
    tables = {split: columns.undecoded(source, opened[split]) for split in splits}
    if is_stream:
        shards: dict[str, list[str]] = defaultdict(list)
        for table, split in splits.items():
            shards[split].extend(f"{table}/{number}" for number in range(tables[table].num_shards))
        return stream_data(source, RowShards(tables, columns), shards, problems, admission)
    images = {split: table.select_columns([columns.image]) for split, table in tables.items()}
    found = _found(tables, splits, columns)
    found.problems[:0] = problems
    rows = Rows(images, columns.image)
    return data_of(source, rows, indexed(source, examined(found, rows, admission)))


def _opened(name: str, options: Mapping[str, str], *, is_stream: bool) -> dict[str, Any]:
    """Open the tables, by the names that their splits have there."""
    import datasets  # noqa: PLC0415 - an extra, whose import takes a second

    datasets.disable_progress_bars()
    path = Path(name).expanduser()
    try:
        if any((path / mark).is_file() for mark in ("dataset_dict.json", "state.json")):
            held = _saved(datasets, path, options, is_stream=is_stream)
        elif path.is_dir():
            check_folder(name, path)
            held = datasets.load_dataset(str(path), options.get("config"), streaming=is_stream)
        else:
            commit = checked_commit(name, options.get("revision"))
            held = datasets.load_dataset(name, options.get("config"), revision=commit, streaming=is_stream)
    except DataError:
        raise
    except ConnectionError as error:
        raise OSError(f"hf:{name}: {_first_line(error)}") from None
    except Exception as error:  # what the library raises is no family
        raise DataError(f"hf:{name} cannot be opened: {_first_line(error)}") from None
    return dict(held) if isinstance(held, dict) else {str(held.split or "train"): held}


def _saved(datasets: Any, path: Path, options: Mapping[str, str], *, is_stream: bool) -> Any:
    """Open what `save_to_disk` wrote, which is there by index and has no configurations."""
    for option in ("config", "revision"):
        if option in options:
            raise DataError(
                f"hf:{path}: {option} = {options[option]!r} would do nothing with a folder that was saved whole"
            )
    if is_stream:
        raise DataError(f"hf:{path}: a folder that was saved whole is read by index; leave streaming=true out")
    return datasets.load_from_disk(str(path))


def _splits(source: str, tables: Mapping[str, Any]) -> tuple[dict[str, str], list[str]]:
    """Return the split that each table is of, empty where there is but one, and say which tables are ignored."""
    splits = {name: SPLIT_NAMES[name] for name in tables if name in SPLIT_NAMES}
    if "train" not in splits.values():
        raise DataError(f"{source} has the splits {', '.join(tables)} but no train; the classes are fixed by it")
    problems = [
        f"{name}: ignored, not a split of training, validation or test" for name in tables if name not in splits
    ]
    return ({"train": ""} if list(splits) == ["train"] else splits), problems


def _found(tables: Mapping[str, Any], splits: Mapping[str, str], columns: Columns) -> Found:
    """Read the labels as a column, and find the rows of every class."""
    rows: dict[tuple[str, str], list[tuple[str, int]]] = defaultdict(list)
    problems = []
    for name, split in splits.items():
        labels = columns.label.texts(tables[name])
        sizes = columns.sizes(tables[name]) if split else array("q", bytes(8 * len(labels)))
        for row, (label, size) in enumerate(zip(labels, sizes, strict=True)):
            if label:
                rows[split, label].append((numbered(name, row), size))
        if num_unlabelled := labels.count(""):
            problems.append(f"{name}: {num_unlabelled:,} rows left out, without a label")
    classes = [
        ClassImages(
            split=split,
            class_name=label,
            names=[name for name, _ in images],
            sizes=array("q", [size for _, size in images]),
        )
        for (split, label), images in sorted(rows.items(), key=lambda item: item[0])
    ]
    return Found(a_class_is="a label", classes=classes, problems=problems)


def _content(value: Any) -> bytes:
    """Return the bytes of an image as the library hands it out undecoded. Raises `ImageError` where there are none."""
    if value is None:
        raise ImageError("the row has no image")
    content, path = value.get("bytes"), value.get("path")
    if content is None and path is not None:
        if "://" in path:
            raise ImageError(f"its bytes are not in the table but at {path}")
        return read(Path(path))
    if not content or len(content) > MAX_FILE_BYTES:
        raise ImageError(f"its image has {len(content or b'')} bytes; 1 to {MAX_FILE_BYTES} are allowed")
    return bytes(content)


def _content_or_nothing(value: Any) -> bytes:
    try:
        return _content(value)
    except ImageError:
        return b""


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
