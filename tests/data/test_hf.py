import json
import socket
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pytest
from PIL import Image

from resnext.data import examine
from resnext.data.dataset import Data, DataError, EncodedDataset
from resnext.data.open import open_data
from resnext.data.stream import Stream
from resnext.imaging.decode import ImageError

Write = Callable[..., str]

PICTURES = datasets.Image()
CLASSES = datasets.ClassLabel(names=["cat", "dog"])
TEXT, WHOLE = datasets.Value("string"), datasets.Value("int64")


def png(seed: int) -> bytes:
    buffer = BytesIO()
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (5, 6, 3), dtype=np.uint8)).save(buffer, "PNG")
    return buffer.getvalue()


def pictures(number: int, first: int = 0) -> list[dict[str, Any]]:
    return [{"bytes": png(first + index), "path": None} for index in range(number)]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Write columns as a parquet file of a split, and return what names the folder."""

    def make(features: dict[str, Any], split: str = "train", **columns: Any) -> str:
        (tmp_path / "table").mkdir(exist_ok=True)
        table = datasets.Dataset.from_dict(columns, features=datasets.Features(features))
        table.to_parquet(tmp_path / "table" / f"{split}.parquet")
        return f"hf:{tmp_path}/table"

    return make


def labelled(data: Data, split: str) -> list[tuple[str, str]]:
    found = data.indexed(split)
    return [(found.name(index), data.class_names[label]) for index, label in enumerate(found.labels)]


def test_rows_are_read_by_index_with_the_class_names_of_the_column(write: Write) -> None:
    source = write({"image": PICTURES, "label": CLASSES}, image=pictures(20), label=[0, 1] * 10)
    data = open_data(source)
    assert {name: len(split.labels) for name, split in data.splits.items()} == {"train": 16, "val": 2, "test": 2}
    everything = [pair for name in data.splits for pair in labelled(data, name)]
    assert sorted(everything) == sorted((f"train[{row}]", ("cat", "dog")[row % 2]) for row in range(20))
    split = data.indexed("train")
    assert isinstance(split, EncodedDataset)
    row = int(split.name(3)[6:-1])
    assert split.content(3) == png(row)
    with Image.open(BytesIO(png(row))) as expected:
        assert np.array_equal(np.asarray(split.image(3)), np.asarray(expected))


def test_splits_go_by_their_names_and_others_are_ignored_in_a_line(tmp_path: Path) -> None:
    features = datasets.Features({"image": PICTURES, "label": CLASSES})
    tables = {
        name: datasets.Dataset.from_dict({"image": pictures(4, 10 * n), "label": [0, 1, 0, 1]}, features=features)
        for n, name in enumerate(("train", "validation", "test", "unlabelled"))
    }
    datasets.DatasetDict(tables).save_to_disk(tmp_path / "saved")
    data = open_data(f"hf:{tmp_path}/saved")
    assert labelled(data, "val") == [(f"validation[{row}]", ("cat", "dog")[row % 2]) for row in (0, 2, 1, 3)]
    assert data.has_own_splits
    assert data.problems == ("unlabelled: ignored, not a split of training, validation or test",)


def test_one_table_that_was_saved_whole_is_divided(tmp_path: Path) -> None:
    features = datasets.Features({"image": PICTURES, "label": CLASSES})
    table = datasets.Dataset.from_dict({"image": pictures(20), "label": [0, 1] * 10}, features=features)
    table.save_to_disk(tmp_path / "saved")
    assert len(open_data(f"hf:{tmp_path}/saved").split("train").labels) == 16
    for option in ("streaming=true", "config=a", "revision=b"):
        with pytest.raises(DataError, match="saved whole"):
            open_data(f"hf:{tmp_path}/saved?{option}")


@pytest.mark.parametrize("kind", ["bytes", "paths"])
def test_named_columns_may_hold_bytes_or_paths_and_text_or_numbers(write: Write, tmp_path: Path, kind: str) -> None:
    paths = [tmp_path / f"{number}.png" for number in range(20)]
    for number, path in enumerate(paths):
        path.write_bytes(png(number))
    values = [png(number) for number in range(20)] if kind == "bytes" else [str(path) for path in paths]
    binary = datasets.Value("binary") if kind == "bytes" else TEXT
    source = write(
        {"picture": binary, "kind": TEXT, "number": WHOLE},
        picture=values,
        kind=["cat", "dog"] * 10,
        number=[7, 10] * 10,
    )
    data = open_data(f"{source}?image=picture&label=kind")
    assert data.class_names == ("cat", "dog")
    split = data.indexed("val")
    assert isinstance(split, EncodedDataset)
    assert split.content(0) == png(int(split.name(0)[6:-1]))
    assert open_data(f"{source}?image=picture&label=number").class_names == ("10", "7")


def test_columns_that_could_be_meant_are_named_and_how_to_choose(write: Write) -> None:
    features = {"a": PICTURES, "b": PICTURES, "x": CLASSES, "y": CLASSES, "words": TEXT}
    columns = {"a": pictures(4), "b": pictures(4), "x": [0, 1] * 2, "y": [0, 1] * 2, "words": ["one"] * 4}
    source = write(features, **columns)
    with pytest.raises(DataError, match=r"2 columns of images, a, b; \?image=COLUMN names the one to take"):
        open_data(source)
    with pytest.raises(DataError, match=r"2 columns of classes, x, y; \?label=COLUMN names the one to take"):
        open_data(f"{source}?image=b")
    with pytest.raises(DataError, match=r"has no column 'z'; it has a, b, x, y, words"):
        open_data(f"{source}?image=z")
    with pytest.raises(DataError, match="column 'b' holds neither text nor whole numbers"):
        open_data(f"{source}?image=a&label=b")
    with pytest.raises(DataError, match="column 'x' holds no images"):
        open_data(f"{source}?image=x&label=y")


def test_without_a_column_of_images_or_classes_all_columns_are_named(write: Write) -> None:
    source = write({"picture": TEXT, "kind": TEXT}, picture=["a"], kind=["cat"])
    with pytest.raises(DataError, match="no column that it calls one of images, among picture, kind"):
        open_data(source)


@pytest.mark.parametrize("streaming", ["", "?streaming=true"])
def test_rows_without_a_label_or_with_a_damaged_image_are_named_and_left_out(write: Write, streaming: str) -> None:
    images = pictures(22)
    images[20] = {"bytes": b"words", "path": None}
    source = write({"image": PICTURES, "label": CLASSES}, image=images, label=[*[0, 1] * 10, 1, None])
    data = open_data(source + streaming)
    unlabelled = [problem for problem in data.problems if "without a label" in problem]
    assert len(unlabelled) == 1
    damaged = [problem for problem in data.problems if "train[20]: left out, not an image" in problem]
    assert len(damaged) == (0 if streaming else 1)
    with pytest.raises(DataError, match=r"\[20\]: left out, not an image"):
        open_data(source + streaming, strict=True)


def test_a_long_table_with_splits_is_not_read_at_opening_and_its_digest_goes_by_sizes(
    write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(examine, "MAX_EXAMINED", 5)
    images = pictures(10)
    images[3] = {"bytes": b"words", "path": None}
    features = {"image": PICTURES, "label": CLASSES}
    write(features, "validation", image=pictures(4, 50), label=[0, 1] * 2)
    data = open_data(write(features, image=images, label=[0, 1] * 5))
    assert data.problems == ()
    split = data.indexed("train")
    with pytest.raises(ImageError, match="not an image"):
        split.image([split.name(index) for index in range(10)].index("train[3]"))
    images[3] = {"bytes": b"other words", "path": None}
    assert open_data(write(features, image=images, label=[0, 1] * 5)).digest != data.digest


def test_the_digest_changes_with_a_label(write: Write) -> None:
    features = {"image": PICTURES, "label": CLASSES}
    first = open_data(write(features, image=pictures(20), label=[0, 1] * 10)).digest
    assert open_data(write(features, image=pictures(20), label=[*[0, 1] * 9, 1, 0])).digest != first
    assert open_data(write(features, image=pictures(20), label=[0, 1] * 10)).digest == first


def test_streaming_divides_by_content_as_reading_by_index_does(write: Write) -> None:
    source = write({"image": PICTURES, "label": CLASSES}, image=pictures(20), label=[0, 1] * 10)
    indexed, streamed = open_data(source), open_data(f"{source}?streaming=true")
    for name in indexed.splits:
        stream = streamed.split(name)
        assert isinstance(stream, Stream)
        found = [(sample.name.replace("/0", ""), streamed.class_names[sample.label]) for sample in stream.samples()]
        assert sorted(found) == sorted(labelled(indexed, name))
        assert [sample.index for sample in stream.samples()] == list(range(len(found)))


def test_images_beside_a_table_are_read_from_their_files(tmp_path: Path) -> None:
    for number in range(20):
        path = tmp_path / "photos" / ("cat", "dog")[number % 2] / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(png(number))
    data = open_data(f"hf:{tmp_path}/photos")
    assert data.class_names == ("cat", "dog")
    assert sum(len(split.labels) for split in data.splits.values()) == 20


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("streaming=yes", "streaming = 'yes': true or false"),
        ("shuffle=1", r"'shuffle=1' is no option of this source; it takes config=..., image=..., label=..."),
        ("config=other", "BuilderConfig 'other' not found"),
    ],
)
def test_an_option_that_cannot_be_is_one_sentence(write: Write, option: str, message: str) -> None:
    source = write({"image": PICTURES, "label": CLASSES}, image=pictures(4), label=[0, 1] * 2)
    with pytest.raises(DataError, match=message) as caught:
        open_data(f"{source}?{option}")
    assert "\n" not in str(caught.value)


def test_a_table_without_train_and_a_folder_without_tables_are_refused(write: Write, tmp_path: Path) -> None:
    source = write({"image": PICTURES, "label": CLASSES}, "test", image=pictures(4), label=[0, 1] * 2)
    with pytest.raises(DataError, match="has the splits test but no train"):
        open_data(source)
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="cannot be opened: ") as caught:
        open_data(f"hf:{tmp_path}/empty")
    assert "\n" not in str(caught.value)


def configured(folder: Path, files: str) -> None:
    (folder / "README.md").write_text(f"---\nconfigs:\n- config_name: mine\n  data_files: {files}\n---\n")


def test_a_folder_may_say_which_of_its_files_are_which_split(write: Write, tmp_path: Path) -> None:
    features = {"image": PICTURES, "label": CLASSES}
    write(features, "a", image=pictures(20), label=[0, 1] * 10)
    source = write(features, "b", image=pictures(4, 50), label=[0, 1] * 2)
    configured(tmp_path / "table", "[{split: train, path: a.parquet}, {split: test, path: b.parquet}]")
    assert len(open_data(f"{source}?config=mine").split("test").labels) == 4


@pytest.mark.parametrize("streaming", ["", "?streaming=true"])
@pytest.mark.parametrize("where", ["README.md", ".huggingface.yaml"])
def test_nothing_is_fetched_that_a_folder_names_of_itself(
    write: Write, tmp_path: Path, where: str, streaming: str
) -> None:
    source = write({"image": PICTURES, "label": CLASSES}, image=pictures(20), label=[0, 1] * 10)
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0)
        address = f"http://127.0.0.1:{server.getsockname()[1]}/train.parquet"
        configured(tmp_path / "table", f"[{{split: train, path: [train.parquet, '{address}']}}]")
        if where != "README.md":
            text = (tmp_path / "table" / "README.md").read_text().replace("---\n", "")
            (tmp_path / "table" / "README.md").unlink()
            (tmp_path / "table" / where).write_text(text)
        with pytest.raises(
            DataError, match=rf"its {where} takes data from {address}, which is no path within it; fetch"
        ):
            open_data(source + streaming)
        with pytest.raises(BlockingIOError):
            server.accept()


@pytest.mark.parametrize(
    "named",
    [
        "data_files: 'hf://datasets/another/repository/train.parquet'",
        "data_files: 'zip://train.parquet::train.zip'",
        "data_files: '../other/train.parquet'",
        "data_files: {root}/other/train.parquet",
        "data_files: [{{split: train, path: [train.parquet, 'a/../../other/train.parquet']}}]",
        "data_dir: ../other",
        "data_dir: {root}/other",
    ],
)
def test_nothing_is_taken_from_outside_the_folder(write: Write, tmp_path: Path, named: str) -> None:
    source = write({"image": PICTURES, "label": CLASSES}, image=pictures(20), label=[0, 1] * 10)
    (tmp_path / "table").rename(tmp_path / "other")
    write({"image": PICTURES, "label": CLASSES}, image=pictures(20), label=[0, 1] * 10)
    text = f"---\nconfigs:\n- config_name: mine\n  {named.format(root=tmp_path)}\n---\n"
    (tmp_path / "table" / "README.md").write_text(text)
    with pytest.raises(DataError, match=r"its README\.md takes data from .*, which is no path within it"):
        open_data(source)


def test_a_description_may_hold_addresses_that_are_no_data(write: Write, tmp_path: Path) -> None:
    source = write({"image": PICTURES, "label": CLASSES}, image=pictures(20), label=[0, 1] * 10)
    configs = "configs:\n- config_name: mine\n  data_dir: ./\n  description: 'see https://example.org'\n"
    (tmp_path / "table" / "README.md").write_text(f"---\n{configs}license_link: https://example.org\n---\n../")
    assert open_data(source).class_names == ("cat", "dog")


def test_code_that_comes_with_data_is_not_run(tmp_path: Path) -> None:
    folder = tmp_path / "script"
    folder.mkdir()
    (folder / "script.py").write_text(f"open({json.dumps(str(tmp_path / 'ran'))}, 'w')")
    with pytest.raises(DataError):
        open_data(f"hf:{folder}")
    assert not (tmp_path / "ran").exists()
