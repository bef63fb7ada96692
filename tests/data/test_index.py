import json
import os
import pickle
import resource
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from resnext.data import examine as module
from resnext.data import folder as folders
from resnext.data.dataset import Data
from resnext.data.folder import open_folder
from resnext.data.found import Admission
from resnext.data.index import Paths, cache_file, recall, remember

AN_HOUR_AGO_NS = 1_700_000_000_000_000_000

any_path = st.binary(max_size=12).map(lambda name: name.decode("utf-8", "surrogateescape"))


def age(root: Path) -> None:
    """Set back when every folder was changed, so that none changed just before it is listed."""
    for folder in (root, *(path for path in root.rglob("*") if path.is_dir())):
        os.utime(folder, ns=(AN_HOUR_AGO_NS, AN_HOUR_AGO_NS))


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Make a folder of 25 files in given splits that counts as large, and an empty cache."""
    root = tmp_path / "animals"
    for split, num_images in (("train", 8), ("val", 4)):
        for class_name in ("cats", "dogs"):
            (root / split / class_name).mkdir(parents=True)
            for number in range(num_images):
                (root / split / class_name / f"{number}.png").write_bytes(b"x" * number)
    (root / "train" / "cats" / "inner").mkdir()
    (root / "train" / "cats" / "inner" / "é.png").touch()
    (root / "train" / "dogs" / ".hidden").touch()
    age(root)
    monkeypatch.setattr(module, "MAX_EXAMINED", 10)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return root


def opened_from_cache(root: Path, monkeypatch: pytest.MonkeyPatch) -> Data:
    """Open a folder where listing it is an error."""
    with monkeypatch.context() as patch:
        patch.delattr(folders, "list_images")
        return open_folder(root)


@given(st.lists(any_path), st.integers(-12, 12), st.slices(12))
def test_compact_paths_are_the_sequence_they_were_made_of(expected: list[str], index: int, part: slice) -> None:
    paths = Paths.of(expected)
    assert list(paths) == expected
    assert len(paths) == len(expected)
    assert paths[part] == expected[part]
    if -len(expected) <= index < len(expected):
        assert paths[index] == expected[index]
    else:
        with pytest.raises(IndexError):
            paths[index]


def test_a_large_folder_is_listed_once(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = open_folder(root)
    assert {name: len(split.labels) for name, split in first.splits.items()} == {"train": 17, "val": 8}
    assert first.problems == ("train/dogs/.hidden: ignored, a hidden file",)
    again = opened_from_cache(root, monkeypatch)
    assert again == first
    assert list(again.splits) == list(first.splits)
    assert {type(label) for label in again.split("train").labels} == {int}


def test_the_folder_itself_is_left_as_it_was(root: Path) -> None:
    before = sorted(root.rglob("*"))
    open_folder(root)
    assert cache_file(root).is_file()
    assert sorted(root.rglob("*")) == before


CHANGES: dict[str, Callable[[Path], object]] = {
    "an image more": lambda root: (root / "train" / "dogs" / "new.png").touch(),
    "an image less": lambda root: (root / "val" / "cats" / "1.png").unlink(),
    "an image renamed": lambda root: (root / "val" / "dogs" / "1.png").rename(root / "val" / "dogs" / "a.png"),
    "an image more in an inner folder": lambda root: (root / "train" / "cats" / "inner" / "new.png").touch(),
    "a class renamed": lambda root: (root / "val" / "dogs").rename(root / "val" / "wolves"),
    "a class more": lambda root: (root / "train" / "ants").mkdir(),
    "a stray file on top": lambda root: (root / "stray.png").touch(),
    "an inner folder gone": lambda root: (root / "train" / "cats" / "inner").rename(root.parent / "elsewhere"),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_a_change_in_any_folder_is_noticed(
    root: Path, monkeypatch: pytest.MonkeyPatch, change: Callable[[Path], object]
) -> None:
    before = open_folder(root)
    change(root)
    changed = open_folder(root)
    assert changed != before
    monkeypatch.setenv("XDG_CACHE_HOME", str(root.parent / "other"))
    assert changed == open_folder(root)


def test_a_file_overwritten_in_place_is_noticed_once_the_cache_file_is_deleted(root: Path) -> None:
    before = open_folder(root)
    (root / "val" / "cats" / "1.png").write_bytes(b"longer than before")
    assert open_folder(root) == before
    cache_file(root).unlink()
    assert open_folder(root).digest != before.digest


def test_the_index_goes_by_the_folder_whatever_it_is_called(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = open_folder(root)
    monkeypatch.chdir(root.parent)
    link = root.parent / "link"
    link.symlink_to(root)
    for name in (Path("animals"), link):
        again = opened_from_cache(name, monkeypatch)
        assert (again.source, again.digest) == (str(name), first.digest)
        assert (again.indexed("val").name(0), again.problems) == (first.indexed("val").name(0), first.problems)


def test_a_folder_that_changed_just_before_it_was_listed_is_not_kept(root: Path) -> None:
    (root / "val" / "dogs" / "new.png").touch()
    open_folder(root)
    assert not cache_file(root).exists()
    age(root)
    open_folder(root)
    assert cache_file(root).exists()


def divide_here(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (root / "val").rename(root / "val-not")
    for number, path in enumerate(sorted(root.rglob("*.png"))):
        path.write_bytes(bytes([number]))
    age(root)


def count_as_small(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_EXAMINED", 25)
    monkeypatch.setattr(module, "decode", lambda content: None)
    for path in root.rglob("*.png"):
        path.write_bytes(str(path).encode())


@pytest.mark.parametrize("prepare", [divide_here, count_as_small])
def test_only_large_folders_with_given_splits_are_kept(
    root: Path, monkeypatch: pytest.MonkeyPatch, prepare: Callable[[Path, pytest.MonkeyPatch], None]
) -> None:
    prepare(root, monkeypatch)
    assert len(open_folder(root).splits) >= 2
    assert not cache_file(root).exists()


@pytest.mark.parametrize(
    "admission", [Admission(examines=False), Admission(quarantine=frozenset({"train/cats/3.png"}))]
)
def test_what_is_not_a_plain_opening_is_not_kept(root: Path, admission: Admission) -> None:
    assert len(open_folder(root, admission).splits) == 2
    assert not cache_file(root).exists()


def test_examining_all_neither_uses_nor_changes_what_is_kept(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    open_folder(root)
    before = cache_file(root).read_bytes()
    monkeypatch.setattr(module, "decode", lambda content: None)
    problems = open_folder(root, Admission(examine_all=True)).problems
    assert "train/cats/0.png: left out, the file is empty" in problems
    assert cache_file(root).read_bytes() == before


@pytest.mark.parametrize("setting", [None, "", "relative/cache"])
def test_without_a_cache_folder_of_its_own_the_cache_is_in_the_home(
    root: Path, monkeypatch: pytest.MonkeyPatch, setting: str | None
) -> None:
    monkeypatch.setenv("HOME", str(root.parent / "home"))
    if setting is None:
        monkeypatch.delenv("XDG_CACHE_HOME")
    else:
        monkeypatch.setenv("XDG_CACHE_HOME", setting)
    open_folder(root)
    assert [path.parent for path in root.parent.rglob("*.npz")] == [root.parent / "home/.cache/resnext/folders"]


def test_a_cut_or_altered_cache_file_is_never_believed(root: Path) -> None:
    expected = open_folder(root)
    path = cache_file(root)
    whole = path.read_bytes()
    for place in range(0, len(whole), 5):
        flipped = bytearray(whole)
        flipped[place] ^= 1 << place % 8
        for content in (whole[:place], bytes(flipped)):
            path.write_bytes(content)
            assert open_folder(root) == expected, place
    assert recall(root) is not None


def foreign_array(path: Path) -> None:
    with path.open("wb") as file:
        np.save(file, np.arange(3))


def pickled_code(path: Path) -> None:
    path.write_bytes(pickle.dumps(Trap(str(path.with_name("ran")))))


def pickled_code_in_an_array(path: Path) -> None:
    np.savez(path, header=np.array([Trap(str(path.with_name("ran")))], dtype=object))


def folder_in_its_place(path: Path) -> None:
    path.unlink()
    path.mkdir()


class Trap:
    """An object that makes a folder when it is unpickled."""

    def __init__(self, folder: str) -> None:
        self.folder = folder

    def __reduce__(self) -> tuple[Callable[[str], None], tuple[str]]:
        return os.mkdir, (self.folder,)


@pytest.mark.parametrize("put", [foreign_array, pickled_code, pickled_code_in_an_array, folder_in_its_place])
def test_a_foreign_cache_file_is_passed_over_and_runs_nothing(root: Path, put: Callable[[Path], None]) -> None:
    expected = open_folder(root)
    put(cache_file(root))
    assert open_folder(root) == expected
    assert not cache_file(root).with_name("ran").exists()


def rewritten(path: Path, **changes: object) -> None:
    with np.load(path) as file:
        arrays = dict(file)
    header = json.loads(arrays["header"].tobytes())
    for name, value in changes.items():
        if name in arrays:
            arrays[name] = np.asarray(value)
        else:
            header[name] = value
    arrays["header"] = np.frombuffer(json.dumps(header).encode(), np.uint8)
    np.savez(path, **arrays)


def test_a_cache_file_may_be_taken_apart_and_put_together(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = open_folder(root)
    rewritten(cache_file(root))
    assert opened_from_cache(root, monkeypatch) == expected


@pytest.mark.parametrize(
    "changes",
    [
        {"format": 0},
        {"root": "/elsewhere"},
        {"changed_ns": {"train": 0}},
        {"changed_ns": {"gone": 0}},
        {"splits": ["train", "test"]},
        {"class_names": ["cats"]},
        {"class_names": None},
        {"train.labels": np.zeros(3, np.int32)},
        {"train.labels": np.full(17, -1, np.int32)},
        {"train.labels": np.zeros(17, np.float32)},
        {"train.ends": np.arange(17)},
        {"val.ends": np.array([3, 2, 1, 0, 5, 6, 7, 112])},
        {"val.block": np.zeros(3, np.uint8)},
    ],
    ids=str,
)
def test_a_cache_file_of_another_version_or_folder_or_without_sense_is_passed_over(
    root: Path, changes: dict[str, object]
) -> None:
    expected = open_folder(root)
    rewritten(cache_file(root), **changes)
    assert recall(root) is None
    assert open_folder(root) == expected
    assert recall(root) is not None


def test_a_cache_that_cannot_be_written_is_done_without(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    in_the_way = root.parent / "in_the_way"
    in_the_way.write_text("a file")
    monkeypatch.setenv("XDG_CACHE_HOME", str(in_the_way))
    assert open_folder(root) == open_folder(root)
    assert in_the_way.read_text() == "a file"


def test_a_full_disk_leaves_the_older_index_and_no_remains(root: Path) -> None:
    open_folder(root)
    before = cache_file(root).read_bytes()
    (root / "val" / "dogs" / "new.png").touch()
    age(root)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(before) // 2, hard))
    try:
        os.utime(root, ns=(1, 1))
        data = open_folder(root)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert len(data.split("val").labels) == 9
    assert cache_file(root).read_bytes() == before
    assert list(cache_file(root).parent.iterdir()) == [cache_file(root)]


def test_what_is_kept_and_recalled_at_once_is_always_whole(root: Path) -> None:
    open_folder(root)
    index = recall(root)
    assert index is not None
    with np.load(cache_file(root)) as arrays:
        changed_ns = json.loads(arrays["header"].tobytes())["changed_ns"]

    def keep_and_recall(_: int) -> bool:
        remember(root, index, changed_ns)
        return recall(root) == index

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(keep_and_recall, range(100)))
    assert list(cache_file(root).parent.iterdir()) == [cache_file(root)]
