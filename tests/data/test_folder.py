import os
import shutil
from collections import Counter
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from resnext.data.dataset import Data, DataError
from resnext.data.folder import open_folder


def picture(path: Path, seed: int) -> Path:
    """Write an image that no other seed gives; the suffix says in which format."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (6, 5, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)
    return path


def class_folder(folder: Path, num_images: int, first_seed: int) -> None:
    for number in range(num_images):
        picture(folder / f"{number:02}.png", first_seed + number)


def names(data: Data, split: str) -> list[str]:
    dataset = data.indexed(split)
    return [dataset.name(index) for index in range(len(dataset.labels))]


def labelled(data: Data, split: str) -> dict[str, str]:
    labels = data.split(split).labels
    return {name: data.class_names[label] for name, label in zip(names(data, split), labels, strict=True)}


@pytest.fixture
def unsplit(tmp_path: Path) -> Path:
    """Make a folder of 20 cats and 30 dogs."""
    root = tmp_path / "animals"
    class_folder(root / "dogs", 30, first_seed=100)
    class_folder(root / "cats", 20, first_seed=200)
    return root


@pytest.fixture
def split(tmp_path: Path) -> Path:
    """Make a folder whose `train` has 10 images a class, and nothing else."""
    root = tmp_path / "animals"
    class_folder(root / "train" / "dogs", 10, first_seed=100)
    class_folder(root / "train" / "cats", 10, first_seed=200)
    return root


def test_without_splits_each_class_is_divided_80_10_10(unsplit: Path) -> None:
    data = open_folder(unsplit)
    counts = {name: Counter(labelled(data, name).values()) for name in data.splits}
    assert counts == {
        "train": {"cats": 16, "dogs": 24},
        "val": {"cats": 2, "dogs": 3},
        "test": {"cats": 2, "dogs": 3},
    }
    assert (data.selection, data.has_own_splits, data.is_handwriting, data.problems) == ("val", False, False, ())


def test_every_image_is_in_one_split_under_the_class_of_its_folder(unsplit: Path) -> None:
    data = open_folder(unsplit)
    everything = [item for name in data.splits for item in labelled(data, name).items()]
    assert sorted(everything) == sorted(
        (path.relative_to(unsplit).as_posix(), path.parent.name) for path in unsplit.rglob("*.png")
    )


def test_an_image_is_what_its_file_holds(unsplit: Path) -> None:
    data = open_folder(unsplit)
    for index, name in enumerate(names(data, "train")[:5]):
        with Image.open(unsplit / name) as expected:
            assert np.array_equal(np.asarray(data.indexed("train").image(index)), np.asarray(expected))


def test_class_names_are_sorted(unsplit: Path) -> None:
    class_folder(unsplit / "Birds", 3, first_seed=300)
    assert open_folder(unsplit).class_names == ("Birds", "cats", "dogs")


@given(
    cats=st.lists(st.integers(0, 12), min_size=1, max_size=20),
    dogs=st.lists(st.integers(0, 12), min_size=1, max_size=20),
)
def test_identical_images_never_straddle_a_split(cats: list[int], dogs: list[int]) -> None:
    with TemporaryDirectory() as folder:
        root = Path(folder)
        for class_name, seeds in (("cats", cats), ("dogs", dogs)):
            for number, seed in enumerate(seeds):
                picture(root / class_name / f"{number}.bmp", seed)
        data = open_folder(root)
        split_of = {(name, (root / path).read_bytes()) for name in data.splits for path in names(data, name)}
        assert len(split_of) == len({content for _, content in split_of})
        assert sum(len(data.split(name).labels) for name in data.splits) == len(cats) + len(dogs)


def test_the_division_is_the_same_on_every_opening_at_any_time_and_place(unsplit: Path, tmp_path: Path) -> None:
    first = open_folder(unsplit)
    for age, path in enumerate(sorted(unsplit.rglob("*.png"), reverse=True)):
        os.utime(path, (1_000 * age, 1_000 * age))
    elsewhere = tmp_path / "copied"
    for class_name in ("dogs", "cats"):
        shutil.copytree(unsplit / class_name, elsewhere / class_name)
    for again in (open_folder(unsplit), open_folder(elsewhere)):
        assert {name: names(again, name) for name in again.splits} == {
            name: names(first, name) for name in first.splits
        }
        assert again.digest == first.digest


def test_the_digest_of_an_undivided_folder_changes_with_any_content_and_any_path(unsplit: Path) -> None:
    before = open_folder(unsplit).digest
    picture(unsplit / "cats" / "00.png", 999)
    changed = open_folder(unsplit).digest
    (unsplit / "cats" / "01.png").rename(unsplit / "cats" / "renamed.png")
    assert len({before, changed, open_folder(unsplit).digest}) == 3


def test_the_digest_of_given_splits_changes_with_path_and_size_only(split: Path) -> None:
    path = picture(split / "train" / "cats" / "a.bmp", 1)
    size, before = path.stat().st_size, open_folder(split).digest
    picture(path, 2)
    assert path.stat().st_size == size
    assert open_folder(split).digest == before
    Image.new("RGB", (40, 40)).save(path)
    larger = open_folder(split).digest
    path.rename(path.with_name("b.bmp"))
    assert len({before, larger, open_folder(split).digest}) == 3


@pytest.mark.parametrize("folder", ["val", "valid", "validation"])
def test_given_splits_are_taken_as_they_are(split: Path, folder: str) -> None:
    for number, class_name in enumerate(("cats", "dogs")):
        class_folder(split / folder / class_name, 3, first_seed=300 + 10 * number)
        class_folder(split / "test" / class_name, 2, first_seed=400 + 10 * number)
    data = open_folder(split)
    assert {name: len(data.split(name).labels) for name in data.splits} == {"train": 20, "val": 6, "test": 4}
    assert all(name.startswith(f"{folder}/") for name in names(data, "val"))
    assert labelled(data, "val")[f"{folder}/dogs/00.png"] == "dogs"
    assert data.has_own_splits
    assert data.problems == ()


def test_without_validation_a_tenth_of_train_is_held_out_and_test_is_left_alone(split: Path) -> None:
    class_folder(split / "test" / "cats", 4, first_seed=400)
    data = open_folder(split)
    assert {name: len(data.split(name).labels) for name in data.splits} == {"train": 18, "val": 2, "test": 4}
    assert sorted(labelled(data, "val").values()) == ["cats", "dogs"]
    assert all(name.startswith("train/") for name in names(data, "val"))


def test_train_alone_is_divided_80_10_10(split: Path) -> None:
    data = open_folder(split)
    assert {name: len(data.split(name).labels) for name in data.splits} == {"train": 16, "val": 2, "test": 2}


def test_a_folder_called_val_is_a_class_where_there_is_no_train(tmp_path: Path) -> None:
    class_folder(tmp_path / "val", 3, first_seed=0)
    class_folder(tmp_path / "other", 3, first_seed=10)
    assert open_folder(tmp_path).class_names == ("other", "val")


def test_classes_are_fixed_by_train_and_a_class_without_training_images_is_named(split: Path) -> None:
    class_folder(split / "val" / "cats", 2, first_seed=300)
    class_folder(split / "val" / "ants", 2, first_seed=310)
    data = open_folder(split)
    assert data.class_names == ("cats", "dogs")
    assert labelled(data, "val") == {"val/cats/00.png": "cats", "val/cats/01.png": "cats"}
    assert data.problems == ("ants: left out, a class without training images",)


def test_suffixes_in_capitals_and_every_known_suffix_count(unsplit: Path) -> None:
    suffixes = ["JPG", "Jpeg", "PNG", "webp", "TIF", "tiff", "gif", "bmp", "ppm"]
    for number, suffix in enumerate(suffixes):
        picture(unsplit / "cats" / f"other{number}.{suffix}", 300 + number)
    data = open_folder(unsplit)
    assert sum(len(data.split(name).labels) for name in data.splits) == 50 + len(suffixes)
    assert data.problems == ()


def test_images_in_nested_folders_belong_to_the_class_on_top(unsplit: Path) -> None:
    picture(unsplit / "cats" / "2024" / "holidays" / "x.png", 300)
    data = open_folder(unsplit)
    everything = {key: value for name in data.splits for key, value in labelled(data, name).items()}
    assert data.class_names == ("cats", "dogs")
    assert everything["cats/2024/holidays/x.png"] == "cats"


def test_images_come_before_those_of_folders_beside_them_each_in_order_of_names(split: Path) -> None:
    cats = split / "train" / "cats"
    for seed, name in enumerate(("b/1.png", "a/z/1.png", "a/2.png", "B.png", "é.png", "~.png")):
        picture(cats / name, 300 + seed)
    picture(split / "val" / "cats" / "a.png", 400)
    inner = ["B.png", "~.png", "é.png", "a/2.png", "a/z/1.png", "b/1.png"]
    found = [name.removeprefix("train/cats/") for name in names(open_folder(split), "train")]
    assert found[:16] == [f"{number:02}.png" for number in range(10)] + inner


def test_a_link_to_a_folder_is_followed_as_a_class_and_not_within_one(unsplit: Path, tmp_path: Path) -> None:
    class_folder(tmp_path / "elsewhere", 3, first_seed=300)
    (unsplit / "birds").symlink_to(tmp_path / "elsewhere")
    (unsplit / "cats" / "more").symlink_to(tmp_path / "elsewhere")
    (unsplit / "cats" / "circle").symlink_to(unsplit)
    data = open_folder(unsplit)
    everything = [class_name for name in data.splits for class_name in labelled(data, name).values()]
    assert Counter(everything) == {"birds": 3, "cats": 20, "dogs": 30}


def test_one_class_is_refused_by_name(tmp_path: Path) -> None:
    class_folder(tmp_path / "cats", 3, first_seed=0)
    with pytest.raises(DataError, match=r"found only the class 'cats'; at least two classes are needed"):
        open_folder(tmp_path)


def test_a_folder_of_images_without_class_folders_is_refused(tmp_path: Path) -> None:
    class_folder(tmp_path, 3, first_seed=0)
    with pytest.raises(DataError, match="found no images to train on in any class; at least two classes are needed"):
        open_folder(tmp_path)


def test_a_missing_folder_and_a_file_are_refused(tmp_path: Path) -> None:
    for path in (tmp_path / "none", picture(tmp_path / "a.png", 0)):
        with pytest.raises(DataError, match=r"(none|a\.png) is not a folder"):
            open_folder(path)


def test_a_split_that_the_data_lacks_is_refused_with_those_it_has(unsplit: Path) -> None:
    with pytest.raises(DataError, match="has no split 'extra'; it has train, val, test"):
        open_folder(unsplit).split("extra")


@pytest.mark.parametrize("folders", [("val", "valid"), ("valid", "validation")])
def test_two_folders_for_the_same_split_are_joined(split: Path, folders: tuple[str, str]) -> None:
    for number, folder in enumerate(folders):
        class_folder(split / folder / "cats", 2, first_seed=300 + 10 * number)
    assert sorted(labelled(open_folder(split), "val")) == [f"{f}/cats/{n}.png" for f in folders for n in ("00", "01")]


def test_a_class_of_locomotives_may_be_called_train(unsplit: Path) -> None:
    class_folder(unsplit / "train", 10, first_seed=300)
    data = open_folder(unsplit)
    assert data.class_names == ("cats", "dogs", "train")
    assert not data.has_own_splits


def test_split_folders_without_train_are_refused(tmp_path: Path) -> None:
    for number, folder in enumerate(("test", "val")):
        for class_name in ("cats", "dogs"):
            class_folder(tmp_path / folder / class_name, 2, first_seed=10 * number)
    with pytest.raises(DataError, match="has test, val but no train; the classes are fixed by training images"):
        open_folder(tmp_path)
