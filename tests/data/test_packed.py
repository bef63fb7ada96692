import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from resnext.data import packed as packing
from resnext.data.dataset import Data, DataError
from resnext.data.open import open_data
from resnext.data.packed import Pack, Packed, pack
from resnext.imaging.decode import ImageError

Pixels = dict[str, list[bytes]]


def pixels(data: Data) -> Pixels:
    return {
        split: [data.indexed(split).image(index).tobytes() for index in range(len(data.split(split).labels))]
        for split in data.splits
    }


def packed(root: Path, folder: Path) -> tuple[Data, Pack]:
    data, file = pack(open_data(str(root)), folder)
    assert all(isinstance(split, Packed) for split in data.splits.values())
    assert pixels(data) == pixels(open_data(str(root)))
    return data, file


def change(path: Path, place: int) -> None:
    content = bytearray(path.read_bytes())
    content[place] ^= 1
    path.write_bytes(content)


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "kept" / "cache"


def test_packed_images_are_the_images_and_the_data_stays_the_same(album: Path, cache: Path) -> None:
    plain = open_data(str(album))
    data, file = packed(album, cache)
    assert (data.digest, data.class_names, data.problems) == (plain.digest, plain.class_names, plain.problems)
    for split in plain.splits:
        ours, theirs = data.indexed(split), plain.indexed(split)
        assert list(ours.labels) == list(theirs.labels)
        assert [ours.name(index) for index in range(len(ours.labels))] == [
            theirs.name(i) for i in range(len(ours.labels))
        ]
    assert file.is_new
    assert list(cache.iterdir()) == [file.path]
    assert file.num_bytes == file.path.stat().st_size == 32 + 36 * (120 * 90 * 3 + 8)


def test_a_second_opening_decodes_nothing(album: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = pixels(open_data(str(album)))
    pack(open_data(str(album)), cache)
    data = open_data(str(album))
    monkeypatch.setattr("resnext.data.encoded.decode", lambda _: pytest.fail("an image was decoded"))
    again, file = pack(data, cache)
    assert not file.is_new
    assert pixels(again) == expected


@pytest.mark.parametrize("place", [0, 31, 32, 50_000, -1])
def test_a_damaged_file_is_made_anew(album: Path, cache: Path, place: int) -> None:
    _, first = packed(album, cache)
    content = first.path.read_bytes()
    change(first.path, place)
    _, second = packed(album, cache)
    assert second.is_new
    assert second.path.read_bytes() == content


@pytest.mark.parametrize("num_bytes", [0, 10, 32, 100_000])
def test_a_file_cut_short_is_made_anew(album: Path, cache: Path, num_bytes: int) -> None:
    _, first = packed(album, cache)
    os.truncate(first.path, num_bytes)
    assert packed(album, cache)[1].is_new


def test_a_file_of_other_images_is_made_anew_in_its_place(album: Path, cache: Path) -> None:
    packed(album, cache)
    (album / "train" / "cats" / "00.jpg").unlink()
    assert packed(album, cache)[1].is_new
    assert len(list(cache.iterdir())) == 1


def test_an_image_written_over_in_place_is_noticed(album: Path, cache: Path) -> None:
    """Its name and its size, which the digest of the data is made of, stay the same."""
    packed(album, cache)
    path = album / "train" / "cats" / "00.jpg"
    digest, size = open_data(str(album)).digest, path.stat().st_size
    Image.new("RGB", (120, 90)).save(path, quality=50)
    path.write_bytes(path.read_bytes().ljust(size, b"\0"))
    assert open_data(str(album)).digest == digest
    assert packed(album, cache)[1].is_new


def test_another_decoder_makes_the_file_anew(album: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    packed(album, cache)
    monkeypatch.setattr("resnext.data.packed.PIL.__version__", "99.0")
    assert packed(album, cache)[1].is_new


def test_an_image_that_cannot_be_read_is_named_as_without(album: Path, cache: Path) -> None:
    bad = album / "train" / "cats" / "00.jpg"
    bad.write_bytes(b"no image")
    data, _ = pack(open_data(str(album), examines=False), cache)
    train = data.indexed("train")
    [index] = [index for index in range(len(train.labels)) if train.name(index).endswith("cats/00.jpg")]
    with pytest.raises(ImageError, match="not an image"):
        train.image(index)
    train.image(index + 1)


def test_images_of_many_sizes_and_modes_are_packed(tmp_path: Path, cache: Path) -> None:
    for number in range(20):
        for class_name in ("a", "b"):
            path = tmp_path / "odd" / class_name / f"{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            colour = 10 * number + (class_name == "b")
            Image.new("L", (1 + number, 30 - number), colour).save(path)
    packed(tmp_path / "odd", cache)


def test_large_images_are_refused_with_what_they_would_take(
    album: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(packing, "MAX_PACKED_BYTES", 10**6)
    monkeypatch.setattr("resnext.data.encoded.decode", lambda _: pytest.fail("an image was decoded"))
    with pytest.raises(DataError, match=r"decoded, take about 0\.00 GB") as refusal:
        pack(open_data(str(album), examines=False), cache)
    assert "leave --cache out" in str(refusal.value)
    assert list(cache.iterdir()) == []


def test_what_the_sample_did_not_tell_is_still_bounded(
    album: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(packing, "MAX_PACKED_BYTES", 10**6)
    monkeypatch.setattr(packing, "_mean_bytes", lambda _: 1.0)
    with pytest.raises(DataError, match="take more than"):
        pack(open_data(str(album)), cache)
    assert list(cache.iterdir()) == []


def test_no_more_is_taken_than_is_free(album: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = shutil.disk_usage(album)
    monkeypatch.setattr("shutil.disk_usage", lambda _: usage._replace(free=1000))
    with pytest.raises(DataError, match="GB may be used"):
        pack(open_data(str(album)), cache)


def test_only_files_are_packed(written: Callable[[Path], dict[str, str]], tmp_path: Path, cache: Path) -> None:
    sources = written(tmp_path / "images")
    for source in ("digits", sources["parquet"], sources["tar"]):
        with pytest.raises(DataError, match="only these are packed"):
            pack(open_data(source), cache)
    assert not cache.exists()
    pack(open_data(sources["list"]), cache)


def test_a_file_in_the_place_of_the_folder_is_refused(album: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="a file, and a folder is needed"):
        pack(open_data(str(album)), tmp_path / "file")
