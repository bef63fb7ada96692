import json
import random
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from resnext.data import examine
from resnext.data.dataset import Data, DataError, EncodedDataset
from resnext.data.open import open_data

Rows = list[dict[str, object]]


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Make a folder of ten cats and ten dogs."""
    root = tmp_path / "photos"
    for seed in range(20):
        path = root / ("cats" if seed < 10 else "dogs") / f"{seed}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.random.default_rng(seed).integers(0, 256, (5, 6, 3), dtype=np.uint8)).save(path)
    return root


def rows_of(photos: Path, **more: object) -> Rows:
    paths = sorted(photos.rglob("*.png"))
    return [{"path": str(path.relative_to(photos)), "label": path.parent.name, **more} for path in paths]


def write(path: Path, rows: Rows) -> Path:
    """Write rows as the suffix says."""
    if path.suffix == ".jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    else:
        separator = "\t" if path.suffix == ".tsv" else ","
        lines: list[list[object]] = [list(rows[0]), *(list(row.values()) for row in rows)]
        path.write_text("".join(separator.join(map(str, line)) + "\n" for line in lines))
    return path


def images(data: Data) -> dict[str, list[tuple[str, int]]]:
    splits = {name: data.indexed(name) for name in data.splits}
    return {
        name: [(split.name(i), split.labels[i]) for i in range(len(split.labels))] for name, split in splits.items()
    }


@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".jsonl"])
def test_a_list_in_any_order_is_the_folder_that_it_lists(photos: Path, suffix: str) -> None:
    rows = rows_of(photos)
    random.Random(0).shuffle(rows)
    folder, listed = open_data(str(photos)), open_data(str(write(photos / f"list{suffix}", rows)))
    assert images(listed) == images(folder)
    assert listed.class_names == folder.class_names == ("cats", "dogs")
    split = listed.indexed("train")
    assert isinstance(split, EncodedDataset)
    assert split.content(0) == (photos / split.name(0)).read_bytes()


def test_columns_may_have_other_names_and_paths_another_root(photos: Path, tmp_path: Path) -> None:
    rows: Rows = [{"file": row["path"], "kind": row["label"], "part": "train"} for row in rows_of(photos)]
    path = write(tmp_path / "list.csv", rows)
    data = open_data(f"{path}?path=file&label=kind&split=part&root={photos}")
    assert sum(len(split.labels) for split in data.splits.values()) == 20
    assert data.has_own_splits


def test_given_splits_are_taken_and_all_names_of_validation_are_one(photos: Path) -> None:
    rows = rows_of(photos)
    for row, split in zip(
        rows, ["train"] * 4 + ["val", "valid", "validation", "test", "train", "train"] * 3, strict=False
    ):
        row["split"] = split
    data = open_data(str(write(photos / "list.csv", rows)))
    assert {name: len(split.labels) for name, split in data.splits.items()} == {"test": 3, "train": 8, "val": 9}


def test_the_digest_changes_with_a_label_a_split_and_a_file_and_not_with_the_order(photos: Path) -> None:
    rows = rows_of(photos, split="train")

    def digest(rows: Rows) -> str:
        return open_data(str(write(photos / "list.csv", rows))).digest

    first = digest(rows)
    assert digest(rows[::-1]) == first
    assert digest([{**rows[0], "label": "dogs"}, *rows[1:]]) != first
    assert digest([{**rows[0], "split": "val"}, *rows[1:]]) != first
    assert digest(rows[1:]) != first


@pytest.mark.parametrize(("option", "name"), [("", "path"), ("?path=file", "file"), ("?split=part", "part")])
def test_a_missing_column_is_named_with_those_there_are(photos: Path, option: str, name: str) -> None:
    path = write(photos / "list.csv", [{"image": row["path"], "label": row["label"]} for row in rows_of(photos)])
    if name == "part":
        option += "&path=image"
    with pytest.raises(DataError, match=rf"has no column '{name}'; it has image, label; \?\w+=COLUMN names the one"):
        open_data(f"{path}{option}")


def test_a_row_without_a_label_or_a_path_is_left_out_in_one_line(photos: Path) -> None:
    rows = rows_of(photos)
    rows[3]["label"] = rows[7]["path"] = " "
    data = open_data(str(write(photos / "list.csv", rows)))
    assert data.problems == ("list.csv, line 5: left out, no label", "list.csv, line 9: left out, no path")
    assert sum(len(split.labels) for split in data.splits.values()) == 18


def test_some_absent_files_are_named_each_and_left_out(photos: Path) -> None:
    rows = rows_of(photos)
    rows[3]["path"] = "/nowhere/3.png"
    data = open_data(str(write(photos / "list.csv", rows)))
    assert data.problems == ("/nowhere/3.png: left out, the file does not exist",)


@pytest.mark.parametrize("number", [11, 20])
def test_where_most_files_are_absent_one_sentence_counts_them(photos: Path, number: int) -> None:
    rows = rows_of(photos)
    for row in rows[:number]:
        row["path"] = f"/home/other/{row['path']}"
    path = write(photos / "list.csv", rows)
    with pytest.raises(
        DataError, match=rf"{number} of the 20 files .* the first: /home/other/cats/0.png; \?root=FOLDER"
    ):
        open_data(str(path))


def test_a_damaged_file_is_named_as_in_a_folder(photos: Path) -> None:
    (photos / "cats" / "3.png").write_bytes(b"words")
    [problem] = open_data(str(write(photos / "list.csv", rows_of(photos)))).problems
    assert problem.startswith("cats/3.png: left out, not an image in one of the formats")


def test_a_class_without_training_images_is_named_and_left_out(photos: Path) -> None:
    rows = rows_of(photos, split="train")
    rows[0] |= {"label": "ants", "split": "val"}
    data = open_data(str(write(photos / "list.csv", rows)))
    assert data.class_names == ("cats", "dogs")
    assert data.problems == ("ants: left out, a class without training images",)


def test_rows_of_another_split_are_left_out_in_one_line_for_all(photos: Path) -> None:
    rows = rows_of(photos, split="train")
    for row in rows[2:5]:
        row["split"] = "extra"
    [problem] = open_data(str(write(photos / "list.csv", rows))).problems
    assert "rows of split 'extra' are left out" in problem


def test_splits_without_train_are_refused(photos: Path) -> None:
    path = write(photos / "list.csv", rows_of(photos, split="test"))
    with pytest.raises(DataError, match="has splits but no images of 'train'"):
        open_data(str(path))


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("list.csv", b"", "has no rows"),
        ("list.csv", b"path,label\n", "has no rows"),
        ("list.csv", b"path,label\n\xff\xfe,cat\n", "cannot be read as a list: 'utf-8' codec"),
        ("list.jsonl", b'{"path": 1\n', "line 1: not JSON"),
        ("list.jsonl", b"[1, 2]\n", r"line 1: \[1, 2\] is not an object"),
        ("list.jsonl", b"[" * 100_000, "line 1: not JSON"),
    ],
)
def test_what_is_no_list_is_one_sentence(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=message) as caught:
        open_data(str(tmp_path / name))
    assert "\n" not in str(caught.value)


def test_a_list_of_one_class_is_refused_in_its_own_words(photos: Path) -> None:
    path = write(photos / "list.csv", rows_of(photos)[:10])
    with pytest.raises(DataError, match="only the class 'cats'; at least two classes are needed, a label for each"):
        open_data(str(path))


def test_a_long_list_with_splits_is_not_decoded_at_opening(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (photos / "cats" / "3.png").write_bytes(b"words")
    rows = rows_of(photos, split="train")
    rows[0]["split"] = rows[15]["split"] = "val"
    path = str(write(photos / "list.csv", rows))
    monkeypatch.setattr(examine, "MAX_EXAMINED", 10)
    assert open_data(path).problems == ()
    with pytest.raises(DataError, match=r"1 problems.*\n.*cats/3.png: left out"):
        open_data(path, strict=True)


def test_a_file_that_is_listed_in_two_classes_is_left_out(photos: Path) -> None:
    rows = rows_of(photos)
    path = write(photos / "list.csv", [*rows, {**rows[0], "label": "dogs"}, rows[0]])
    data = open_data(str(path))
    assert data.problems == ("cats/0.png: left out, listed as cats and, in list.csv, line 22, as dogs",)
    assert "cats/0.png" not in [name for split in images(data).values() for name, _ in split]


def test_a_file_that_is_listed_twice_is_one_image(photos: Path) -> None:
    rows = rows_of(photos)
    once = open_data(str(write(photos / "once.csv", rows)))
    twice = open_data(str(write(photos / "list.csv", [*rows, rows[0]])))
    assert images(twice) == images(once)
    assert twice.problems == ("list.csv, line 22: left out, cats/0.png is listed before",)


@pytest.mark.parametrize("turned", [False, True])
def test_a_file_that_is_listed_in_several_splits_is_kept_for_the_test_before_validation(
    photos: Path, turned: bool
) -> None:
    rows = rows_of(photos, split="train")
    more: Rows = [{**rows[0], "split": "val"}, {**rows[0], "split": "test"}, {**rows[1], "split": "valid"}]
    rows = [*more, *rows] if turned else [*rows, *more]
    data = open_data(str(write(photos / "list.csv", rows)))
    names = {split: [name for name, _ in found] for split, found in images(data).items()}
    assert (names["test"], names["val"]) == (["cats/0.png"], ["cats/1.png"])
    assert len(names["train"]) == 18


def test_a_name_in_quarantine_takes_every_row_of_the_file(photos: Path) -> None:
    rows = rows_of(photos)
    data = open_data(str(write(photos / "list.csv", [*rows, rows[0]])), quarantine=frozenset({"cats/0.png"}))
    assert "cats/0.png" not in [name for split in images(data).values() for name, _ in split]


def test_json_lines_have_splits_of_their_own_wherever_the_first_of_them_stands(photos: Path) -> None:
    rows = rows_of(photos, split="train")
    rows[1]["split"] = rows[15]["split"] = "val"
    del rows[0]["split"]
    data = open_data(str(write(photos / "list.jsonl", rows)))
    assert data.has_own_splits
    assert data.problems == ("list.jsonl, line 1: left out, no split",)
    assert len(data.split("train").labels) == 17


@pytest.mark.parametrize("field", ["path", "label"])
def test_half_of_a_character_is_left_out_in_a_sentence_that_can_be_printed(photos: Path, field: str) -> None:
    rows = rows_of(photos)
    rows[2][field] = "\ud800"
    data = open_data(str(write(photos / "list.jsonl", rows)))
    assert data.problems == ("list.jsonl, line 3: left out, '\\ud800' is no Unicode text",)


def test_the_source_is_kept_with_its_options(photos: Path) -> None:
    source = f"{write(photos / 'list.csv', rows_of(photos))}?label=label"
    assert open_data(source).source == source


def test_a_list_whose_name_has_a_question_mark_still_opens(photos: Path) -> None:
    folder = Path(shutil.move(photos, photos.with_name("why?label=x")))
    path = write(folder / "li?st.csv", rows_of(folder))
    for source in (str(path), f"{path}?label=label", str(folder)):
        assert open_data(source).class_names == ("cats", "dogs")


@pytest.mark.parametrize("option", ["colour=red", "path", "path=", "path=a&path=b", "config=x"])
def test_an_option_that_is_not_one_is_refused_with_those_allowed(photos: Path, option: str) -> None:
    path = write(photos / "list.csv", rows_of(photos))
    with pytest.raises(
        DataError, match=r"is no option of this source; it takes path=..., label=..., split=..., root=..."
    ):
        open_data(f"{path}?{option}")


def test_a_file_that_is_no_list_is_refused(photos: Path) -> None:
    with pytest.raises(DataError, match=r"0\.png is a file, but no list"):
        open_data(str(photos / "cats" / "0.png"))
