from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from resnext.data.dataset import Data, DataError
from resnext.data.open import open_data
from resnext.data.quarantine import Quarantined, read_quarantine, write_quarantine


def names(data: Data) -> set[str]:
    splits = map(data.indexed, data.splits)
    return {split.name(index) for split in splits for index in range(len(split.labels))}


def listed(folder: Path, *lines: str) -> Path:
    path = folder / "bad.txt"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    yield tmp_path_factory.mktemp("lists")


@given(st.dictionaries(st.text(st.characters(exclude_characters="\0"), min_size=1), st.text(), max_size=5))
def test_every_name_comes_back_and_no_reason_does(place: Path, images: dict[str, str]) -> None:
    write_quarantine(place / "list.txt", [Quarantined(name, reason) for name, reason in images.items()])
    assert read_quarantine(place / "list.txt") == images.keys()


def test_names_in_an_old_encoding_come_back(tmp_path: Path) -> None:
    write_quarantine(tmp_path / "list.txt", [Quarantined("cats/caf\udce9.png", "corrupt: caf\udce9")])
    assert read_quarantine(tmp_path / "list.txt") == {"cats/caf\udce9.png"}


def test_a_list_made_by_hand_is_read(tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_bytes(b"\xef\xbb\xbf# my list\r\n\r\ncats/a b.jpg  \r\n  dogs/1.jpg\r\n")
    assert read_quarantine(tmp_path / "list.txt") == {"cats/a b.jpg", "dogs/1.jpg"}


def test_a_list_that_cannot_be_used_is_refused_in_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "latin.txt").write_bytes(b"caf\xe9.jpg\n")
    for path, words in (
        (tmp_path / "none.txt", "none.txt: the quarantine list cannot be read, No such file"),
        (tmp_path, "cannot be read"),
        (tmp_path / "latin.txt", "not a text in UTF-8"),
        (listed(tmp_path, "a.jpg", '"b.jpg'), "line 2: .* close the quotation mark"),
    ):
        with pytest.raises(DataError, match=words):
            read_quarantine(path)


@pytest.mark.parametrize("has_splits", [True, False])
def test_images_in_quarantine_are_as_if_they_were_not_there(album: Path, tmp_path: Path, has_splits: bool) -> None:
    root = album if has_splits else album / "train"
    bad = sorted(names(open_data(str(root))))[::9]
    (root / bad[1]).write_bytes(b"words")
    data = open_data(str(root), quarantine=listed(tmp_path, *bad))
    for name in bad:
        (root / name).unlink()
    assert data == open_data(str(root))


def test_the_digest_is_of_what_is_left(album: Path) -> None:
    whole, less = open_data(str(album)), open_data(str(album), quarantine=frozenset({"train/cats/00.jpg"}))
    assert whole.digest != less.digest
    assert names(whole) - names(less) == {"train/cats/00.jpg"}


def test_a_name_that_no_image_has_is_a_problem(album: Path, tmp_path: Path) -> None:
    path = listed(tmp_path, "train/cats/typo.jpg")
    [problem] = open_data(str(album), quarantine=path).problems
    assert problem.startswith("train/cats/typo.jpg: in the quarantine list, but no image has this name")
    with pytest.raises(DataError, match="strict allows none"):
        open_data(str(album), quarantine=path, strict=True)


def test_a_quarantined_class_is_gone(album: Path) -> None:
    (album / "train" / "ants").mkdir()
    (album / "train" / "ants" / "1.jpg").write_bytes((album / "train" / "cats" / "00.jpg").read_bytes())
    assert open_data(str(album)).class_names == ("ants", "cats", "dogs")
    assert open_data(str(album), quarantine=frozenset({"train/ants/1.jpg"})).class_names == ("cats", "dogs")


def test_images_of_other_sources_can_be_left_out_too(tmp_path: Path) -> None:
    whole = open_data("digits")
    bad = whole.indexed("train").name(5)
    less = open_data("digits", quarantine=listed(tmp_path, bad, "digits/train[999999]"))
    assert names(whole) - names(less) == {bad}
    assert len(less.split("train").labels) == len(whole.split("train").labels) - 1
    assert less.indexed("train").name(5) == whole.indexed("train").name(6)
    assert less.digest != whole.digest
    assert len(less.problems) == 1
    assert open_data("digits", quarantine=frozenset()).digest == whole.digest


def test_a_list_of_everything_is_refused() -> None:
    everything = frozenset(names(open_data("digits")))
    with pytest.raises(DataError, match="no training image"):
        open_data("digits", quarantine=everything)
