import os
import re
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from resnext.data import encoded as stores
from resnext.data import examine
from resnext.data.dataset import Data, DataError
from resnext.data.folder import open_folder
from resnext.data.found import Admission
from resnext.data.open import open_data
from resnext.imaging.decode import ImageError, read


def encoded(seed: int, file_format: str = "PNG") -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 256, (16, 16, 3), dtype=np.uint8)
    buffer = BytesIO()
    Image.fromarray(pixels).save(buffer, file_format)
    return buffer.getvalue()


@pytest.fixture
def healthy(tmp_path: Path) -> Path:
    """Make a folder of 10 cats and 10 dogs with nothing wrong about it."""
    for number, class_name in enumerate(("cats", "dogs")):
        (tmp_path / class_name).mkdir()
        for image in range(10):
            (tmp_path / class_name / f"{image}.png").write_bytes(encoded(100 * number + image))
    return tmp_path


def truncated_jpeg(root: Path) -> str:
    content = encoded(500, "JPEG")
    (root / "cats" / "half.jpg").write_bytes(content[: len(content) // 2])
    return "cats/half.jpg: left out, damaged image: "


def text_named_jpg(root: Path) -> str:
    (root / "cats" / "words.jpg").write_text("these are words\n" * 10)
    return "cats/words.jpg: left out, not an image in one of the formats "


def zero_bytes(root: Path) -> str:
    (root / "dogs" / "empty.jpg").touch()
    return "dogs/empty.jpg: left out, the file is empty"


def empty_class(root: Path) -> str:
    (root / "ants").mkdir()
    return "ants: a class folder without images"


def hidden_file(root: Path) -> str:
    (root / "cats" / ".DS_Store").write_bytes(b"\0\0\0\1Bud1")
    return "cats/.DS_Store: ignored, a hidden file"


def hidden_file_on_top(root: Path) -> str:
    (root / ".DS_Store").write_bytes(b"\0\0\0\1Bud1")
    return ".DS_Store: ignored, a hidden file"


def same_in_two_classes(root: Path) -> str:
    (root / "dogs" / "copy.png").write_bytes((root / "cats" / "3.png").read_bytes())
    return "dogs/copy.png: the same image as cats/3.png, which is in another class"


def other_file(root: Path) -> str:
    (root / "dogs" / "notes.txt").write_text("notes")
    return "dogs/notes.txt: ignored, not an image file"


def image_on_top(root: Path) -> str:
    (root / "stray.png").write_bytes(encoded(501))
    return "stray.png: ignored, not in a class folder"


def broken_link(root: Path) -> str:
    (root / "dogs" / "gone.png").symlink_to(root / "nowhere.png")
    return "dogs/gone.png: left out, No such file or directory"


FAULTS: list[Callable[[Path], str]] = [
    truncated_jpeg,
    text_named_jpg,
    zero_bytes,
    empty_class,
    hidden_file,
    hidden_file_on_top,
    same_in_two_classes,
    other_file,
    image_on_top,
    broken_link,
]


def num_images(data: Data) -> int:
    return sum(len(data.split(name).labels) for name in data.splits)


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_named_in_one_line_and_the_rest_goes_on(healthy: Path, fault: Callable[[Path], str]) -> None:
    expected = fault(healthy)
    data = open_folder(healthy)
    assert len(data.problems) == 1
    assert data.problems[0].startswith(expected) and "\n" not in data.problems[0]
    assert data.class_names == ("cats", "dogs")
    assert num_images(data) == (21 if fault is same_in_two_classes else 20)


@pytest.mark.parametrize("fault", FAULTS)
def test_strict_stops_at_any_fault(healthy: Path, fault: Callable[[Path], str]) -> None:
    expected = fault(healthy)
    with pytest.raises(DataError) as caught:
        open_data(str(healthy), strict=True)
    assert "1 problems, and strict allows none" in str(caught.value)
    assert expected in str(caught.value)


def test_all_faults_at_once_are_each_named_in_one_line(healthy: Path) -> None:
    expected = [fault(healthy) for fault in FAULTS]
    problems = open_folder(healthy).problems
    assert len(problems) == len(expected)
    for start in expected:
        assert sum(line.startswith(start) for line in problems) == 1, start


def test_strict_lists_all_faults(healthy: Path) -> None:
    expected = [fault(healthy) for fault in FAULTS]
    with pytest.raises(DataError) as caught:
        open_data(str(healthy), strict=True)
    first, *lines = str(caught.value).splitlines()
    assert first.startswith(f"{healthy} has {len(FAULTS)} problems")
    assert all(any(line.strip().startswith(start) for line in lines) for start in expected)


def test_strict_opens_a_healthy_folder_as_usual(healthy: Path) -> None:
    assert open_data(str(healthy), strict=True) == open_data(str(healthy))


def test_a_file_that_the_system_will_not_read_is_left_out(healthy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def guarded(path: Path) -> bytes:
        if path.name == "3.png":
            raise ImageError("Permission denied")
        return read(path)

    monkeypatch.setattr(stores, "read", guarded)
    data = open_folder(healthy)
    assert data.problems == ("cats/3.png: left out, Permission denied", "dogs/3.png: left out, Permission denied")
    assert num_images(data) == 18


def test_copies_within_a_class_are_no_fault(healthy: Path) -> None:
    (healthy / "cats" / "copy.png").write_bytes((healthy / "cats" / "3.png").read_bytes())
    assert open_folder(healthy).problems == ()


def test_a_folder_beside_the_splits_is_named(healthy: Path) -> None:
    (healthy / "train").mkdir()
    for class_name in ("cats", "dogs"):
        (healthy / class_name).rename(healthy / "train" / class_name)
    (healthy / "raw").mkdir()
    assert open_folder(healthy).problems == ("raw: ignored, not a split folder",)


def test_in_a_large_folder_with_splits_a_damaged_image_is_named_when_it_is_met_or_when_asked(
    healthy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    truncated_jpeg(healthy)
    (healthy / "train").mkdir()
    for class_name in ("cats", "dogs"):
        (healthy / class_name).rename(healthy / "train" / class_name)
    monkeypatch.setattr(examine, "MAX_EXAMINED", 20)
    data = open_folder(healthy)
    assert (data.problems, num_images(data)) == ((), 21)
    splits = [data.indexed(name) for name in data.splits]
    met = [(split, index) for split in splits for index in range(len(split.labels))]
    [(split, index)] = [(split, index) for split, index in met if split.name(index).endswith("half.jpg")]
    with pytest.raises(ImageError, match="damaged image"):
        split.image(index)
    assert len(open_folder(healthy, Admission(examine_all=True)).problems) == 1


@pytest.mark.parametrize("parent", [".", "train"])
def test_in_a_large_folder_divided_here_copies_still_stay_together(
    healthy: Path, monkeypatch: pytest.MonkeyPatch, parent: str
) -> None:
    cats = healthy / parent / "cats"
    for class_name in ("cats", "dogs"):
        (healthy / parent).mkdir(exist_ok=True)
        (healthy / class_name).rename(healthy / parent / class_name)
    for number in range(5):
        (cats / f"copy{number}.png").write_bytes((cats / "3.png").read_bytes())
    expected = open_folder(healthy)
    monkeypatch.setattr(examine, "MAX_EXAMINED", 20)
    assert open_folder(healthy) == expected


def test_in_a_large_folder_without_validation_images_of_a_trained_class_some_are_held_out(
    healthy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (healthy / "train").mkdir()
    for class_name in ("cats", "dogs"):
        (healthy / class_name).rename(healthy / "train" / class_name)
    (healthy / "val" / "ants").mkdir(parents=True)
    (healthy / "val" / "ants" / "0.png").write_bytes(encoded(500))
    expected = open_folder(healthy)
    assert {name: len(split.labels) for name, split in expected.splits.items()} == {"train": 16, "val": 2, "test": 2}
    monkeypatch.setattr(examine, "MAX_EXAMINED", 20)
    assert open_folder(healthy) == expected


@pytest.mark.parametrize("folder", ["cats/inner", "cats", "."])
def test_a_folder_that_the_system_will_not_read_is_named(
    healthy: Path, monkeypatch: pytest.MonkeyPatch, folder: str
) -> None:
    (healthy / "cats" / "inner").mkdir()
    scandir = os.scandir

    def guarded(path: Path) -> Any:
        if path == healthy / folder:
            raise PermissionError(13, "Permission denied")
        return scandir(path)

    monkeypatch.setattr(os, "scandir", guarded)
    line = f"{folder}: left out, Permission denied"
    if folder == "cats/inner":
        assert open_folder(healthy).problems == (line,)
    else:
        with pytest.raises(DataError, match=re.escape(line)):
            open_folder(healthy)


def test_a_name_in_an_old_encoding_is_no_obstacle(healthy: Path) -> None:
    path = bytes(healthy / "cats") + b"/caf\xe9.png"
    Path(path.decode("utf-8", "surrogateescape")).write_bytes(encoded(502))
    assert num_images(open_folder(healthy)) == 21


def test_a_folder_with_nothing_but_damaged_images_says_what_is_wrong_with_them(tmp_path: Path) -> None:
    for class_name in ("cats", "dogs"):
        (tmp_path / class_name).mkdir()
        (tmp_path / class_name / "empty.jpg").touch()
    with pytest.raises(DataError, match="the file is empty"):
        open_folder(tmp_path)


@pytest.mark.parametrize("source", ["nowhere", "imagenet:/data", "cifar11:root"])
def test_data_of_an_unknown_name_is_refused_with_the_names_there_are(source: str) -> None:
    with pytest.raises(DataError, match=r"no data at '.*'; data is named by 'digits', .* 'cifar10:ROOT'"):
        open_data(source)
