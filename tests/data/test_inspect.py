import json
import os
import random
import shutil
import tarfile
from collections.abc import Callable, Sequence
from io import BytesIO
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

import resnext
from resnext.data import look as module
from resnext.data.findings import SEVERITIES
from resnext.data.inspect import Inspection, divided, inspect
from resnext.data.look import Look, Seen, look_at
from resnext.data.open import open_data
from resnext.imaging.decode import decode

Photograph = Callable[..., Image.Image]


@pytest.fixture
def save(album: Path, photograph: Photograph) -> Callable[..., str]:
    """Put another photograph into the album, and return its name."""
    seeds = count(100)

    def save(name: str, change: Callable[[Image.Image], Image.Image] = lambda image: image, **options: Any) -> str:
        change(photograph(next(seeds))).save(album / name, **options)
        return name

    return save


def kinds(inspection: Inspection) -> dict[str, list[tuple[str, ...]]]:
    """Return the names of the images of every finding, by kind."""
    return {
        kind: [tuple(image.name for image in finding.images) for finding in inspection.of_kind(kind)]
        for kind in inspection.kinds()
        if kind != "small_class"
    }


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def flip_a_byte(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 255
    path.write_bytes(content)


def test_a_healthy_folder_has_no_findings(album: Path) -> None:
    inspection = inspect(str(album))
    assert kinds(inspection) == {}
    assert inspection.quarantine == ()
    assert inspection.splits == {"train": 24, "val": 6, "test": 6}
    assert [(count.name, count.splits) for count in inspection.classes] == [
        (name, {"train": 12, "val": 3, "test": 3}) for name in ("cats", "dogs")
    ]
    assert inspection.formats == {"JPEG": 36}
    [size] = inspection.sizes
    assert (size.width, size.height, size.num_images) == (120, 90, 36)


def test_files_that_cannot_be_decoded_are_each_found(album: Path, save: Callable[..., str]) -> None:
    cats = album / "train" / "cats"
    cut(album / save("train/cats/cut.jpg"))
    flip_a_byte(album / save("train/cats/flipped.png"))
    (cats / "words.jpg").write_text("these are words")
    (cats / "empty.jpg").touch()
    (cats / "gone.jpg").symlink_to("nowhere.jpg")
    Image.new("1", (9_500, 9_500)).save(cats / "giant.png")
    Image.new("F", (40, 40)).save(cats / "float.tif")
    inspection = inspect(str(album))
    names = {"truncated": "cut.jpg", "corrupt": "flipped.png", "not_an_image": "words.jpg", "empty": "empty.jpg"}
    names |= {"unreadable": "gone.jpg", "giant": "giant.png", "unsupported": "float.tif"}
    expected = {kind: [(f"train/cats/{name}",)] for kind, name in names.items()}
    assert kinds(inspection) == expected
    assert inspection.num_findings("error") == 7
    assert {image.name for image in inspection.quarantine} == {f"train/cats/{name}" for name in names.values()}
    assert open_data(str(album), examines=False).problems == ()


def test_odd_but_usable_images_are_noted(album: Path, save: Callable[..., str], photograph: Photograph) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    expected = {
        "suffix": [save("train/cats/lies.png", format="JPEG")],
        "rotated": [save("train/cats/rotated.jpg", exif=exif)],
        "animated": [save("train/cats/frames.webp", save_all=True, append_images=[photograph(90)])],
        "odd_mode": [
            save("train/cats/alpha.png", lambda image: image.convert("RGBA")),
            save("train/cats/cmyk.jpg", lambda image: image.convert("CMYK")),
            save("train/cats/deep.png", lambda image: image.convert("L").convert("I;16")),
            save("train/cats/grey.png", lambda image: image.convert("L")),
            save("train/cats/palette.png", lambda image: image.convert("P")),
        ],
        "tiny": [save("train/dogs/tiny.jpg", lambda image: image.resize((30, 20)))],
        "oversized": [save("train/dogs/large.jpg", lambda image: image.resize((1_000, 750)))],
        "extreme_aspect": [save("train/dogs/wide.jpg", lambda image: image.resize((400, 80)))],
    }
    inspection = inspect(str(album))
    assert kinds(inspection) == {kind: [(name,) for name in names] for kind, names in expected.items()}
    assert inspection.num_findings("error") == 0 and inspection.quarantine == ()


def test_grey_is_odd_among_colour_only(tmp_path: Path, photograph: Photograph) -> None:
    for number in range(20):
        (tmp_path / str(number % 2)).mkdir(exist_ok=True)
        photograph(number).convert("L").save(tmp_path / str(number % 2) / f"{number}.png")
    assert kinds(inspect(str(tmp_path))) == {}


def test_copies_leaks_and_conflicts_are_told_apart(album: Path) -> None:
    def copy(source: str, target: str) -> None:
        shutil.copy(album / source, album / target)

    def shrink(source: str, target: str) -> None:
        Image.open(album / source).resize((84, 63)).save(album / target, quality=80)

    copy("train/cats/00.jpg", "train/cats/copy.jpg")
    Image.open(album / "train/cats/02.jpg").save(album / "train/cats/lossless.png")
    shrink("train/cats/04.jpg", "train/cats/small.jpg")
    copy("train/dogs/01.jpg", "test/dogs/leak.jpg")
    shrink("test/dogs/31.jpg", "train/dogs/near leak.jpg")
    copy("train/cats/06.jpg", "train/dogs/conflict.jpg")
    copy("train/cats/08.jpg", "val/dogs/both.jpg")
    inspection = inspect(str(album))
    assert kinds(inspection) == {
        "label_conflict": [
            ("train/cats/06.jpg", "train/dogs/conflict.jpg"),
            ("train/cats/08.jpg", "val/dogs/both.jpg"),
        ],
        "leak": [
            ("test/dogs/31.jpg", "train/dogs/near leak.jpg"),
            ("test/dogs/leak.jpg", "train/dogs/01.jpg"),
            ("train/cats/08.jpg", "val/dogs/both.jpg"),
        ],
        "duplicate": [("train/cats/00.jpg", "train/cats/copy.jpg"), ("train/cats/02.jpg", "train/cats/lossless.png")],
        "near_duplicate": [("train/cats/04.jpg", "train/cats/small.jpg")],
    }
    assert {image.name for image in inspection.quarantine} == {
        *("train/cats/copy.jpg", "train/cats/lossless.png", "train/cats/small.jpg"),
        *("train/dogs/01.jpg", "train/dogs/near leak.jpg"),
        *("train/cats/06.jpg", "train/dogs/conflict.jpg", "train/cats/08.jpg", "val/dogs/both.jpg"),
    }


def test_of_a_chain_of_near_copies_only_copies_of_what_is_kept_are_quarantined(
    tmp_path: Path, photograph: Photograph
) -> None:
    for number in range(25):
        for class_name, seed in (("film", 0), ("other", 100 + number)):
            (tmp_path / "train" / class_name).mkdir(parents=True, exist_ok=True)
            image = Image.blend(photograph(seed), photograph(1), number / 24) if seed == 0 else photograph(seed)
            image.save(tmp_path / "train" / class_name / f"{number:02}.png")
    inspection = inspect(str(tmp_path / "train"))
    words = {finding.sentence.partition(",")[0] for finding in inspection.findings if finding.images}
    assert any(sentence.startswith("a chain of ") for sentence in words)
    kept = 25 - len(inspection.quarantine)
    assert 2 <= kept < 25
    for listed in inspection.quarantine:
        (tmp_path / "train" / listed.name).unlink()
    assert inspect(str(tmp_path / "train")).quarantine == ()


def test_a_stream_is_inspected_in_order(tmp_path: Path, photograph: Photograph) -> None:
    pytest.importorskip("webdataset")
    for split, numbers in (("train", range(40)), ("val", (0, 41))):
        with tarfile.open(tmp_path / f"{split}-000.tar", "w") as tar:
            for number in numbers:
                content = BytesIO()
                photograph(number).save(content, "PNG")
                is_cut = (split, number) == ("train", 7)
                write(tar, f"{number:02}.png", content.getvalue()[: 4_000 if is_cut else None])
                write(tar, f"{number:02}.txt", (b"cat", b"dog")[number % 2])
    inspection = inspect(f"wds:{tmp_path}")
    names = {
        kind: [tuple(Path(name).name for name in images) for images in found]
        for kind, found in kinds(inspection).items()
    }
    assert names == {"truncated": [("07.png",)], "leak": [("00.png", "00.png")]}
    assert inspection.splits == {"train": 40, "val": 2} and inspection.formats == {"PNG": 42}
    cleaned = open_data(f"wds:{tmp_path}", quarantine=frozenset(image.name for image in inspection.quarantine))
    assert {split: len(dataset.labels) for split, dataset in cleaned.splits.items()} == {"train": 38, "val": 2}
    assert cleaned.problems == ()


def write(tar: tarfile.TarFile, name: str, content: bytes) -> None:
    entry = tarfile.TarInfo(name)
    entry.size = len(content)
    tar.addfile(entry, BytesIO(content))


def test_what_opening_noted_and_classes_out_of_balance_are_found(album: Path, photograph: Photograph) -> None:
    for name in ("test/ghosts", "train/hollow", "train/rare"):
        (album / name).mkdir()
    photograph(200).save(album / "test/ghosts/1.jpg")
    photograph(201).save(album / "train/rare/1.jpg")
    (album / "train/cats/notes.txt").touch()
    sentences = {
        kind: [finding.sentence for finding in inspection.of_kind(kind)]
        for inspection in [inspect(str(album))]
        for kind in inspection.kinds()
    }
    assert sentences == {
        "class_mismatch": [
            "val has no image of rare; nothing can be said of how well they are told",
            "test has no image of rare; nothing can be said of how well they are told",
            "ghosts: left out, a class without training images",
        ],
        "imbalance": ["cats has 12 training images, rare only 1; class weights or balanced sampling help"],
        "small_class": ["rare: 1 usable training image; from fewer than 10 little is learnt"],
        "empty_class": ["train/hollow: a class folder without images"],
        "ignored": ["train/cats/notes.txt: ignored, not an image file"],
    }


def test_without_the_images_in_quarantine_nothing_is_left_to_put_there(album: Path, photograph: Photograph) -> None:
    root = album / "train"
    for number in range(0, 12, 2):
        Image.open(root / f"cats/{number:02}.jpg").resize((90, 68)).save(root / f"cats/copy {number}.jpg")
    (root / "cats" / "words.jpg").write_text("words")
    found = inspect(str(root))
    for image in found.quarantine:
        (root / image.name).unlink()
    assert len(found.quarantine) == 7
    assert inspect(str(root)).quarantine == ()


def test_splits_made_here_are_those_that_training_sees(album: Path) -> None:
    root = album / "train"
    for number in range(6):
        (root / "cats" / f"damaged{number}.jpg").write_bytes(b"words %d" % number)
    unexamined = open_data(str(root), examines=False)
    looks = [look for look, _ in look_at(unexamined)]
    opened = open_data(str(root))
    trained = {
        dataset.name(index): split
        for split, dataset in zip(opened.splits, map(opened.indexed, opened.splits), strict=True)
        for index in range(len(dataset.labels))
    }

    def healthy(looks: Sequence[Look]) -> dict[str, str]:
        return {look.name: look.split for look in looks if isinstance(look.result, Seen)}

    assert healthy(looks) != trained
    assert healthy(divided(str(root), unexamined, looks)) == trained


def test_splits_that_came_with_the_data_and_those_of_large_sets_stay_as_they_are(
    album: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (album / "train" / "cats" / "damaged.jpg").write_bytes(b"words")
    (album / "train" / "dogs" / "damaged.jpg").write_bytes(b"words")
    own = open_data(str(album), examines=False)
    looks = [look for look, _ in look_at(own)]
    assert divided(str(album), own, looks) is looks
    monkeypatch.setattr("resnext.data.examine.MAX_EXAMINED", 5)
    large = open_data(str(album / "train"), examines=False)
    looks = [look for look, _ in look_at(large)]
    assert divided(str(album / "train"), large, looks) is looks


def test_every_image_is_decoded_once(album: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    decoded: list[bytes] = []

    def counted(content: bytes) -> Image.Image:
        decoded.append(content)
        return decode(content)

    monkeypatch.setattr(module, "decode", counted)
    inspect(str(album))
    assert len(decoded) == len(set(decoded)) == 36


def test_sources_without_files_are_inspected_for_copies_and_classes(tmp_path: Path) -> None:
    inspection = inspect("digits")
    assert kinds(inspection) == {}
    assert inspection.num_images == 1_797 and inspection.formats == {}


def test_any_number_of_threads_finds_the_same(album: Path) -> None:
    (album / "train" / "cats" / "empty.jpg").touch()
    assert inspect(str(album), num_threads=0) == inspect(str(album), num_threads=3)


def test_everything_is_in_the_json(album: Path) -> None:
    (album / "train" / "cats" / 'a "b" <c>.jpg').touch()
    facts = json.loads(json.dumps(inspect(str(album)).as_json()))
    assert facts.keys() == {
        *("source", "num_images", "num_errors", "num_warnings", "num_notes", "splits", "formats", "classes", "sizes"),
        *("findings", "quarantine"),
    }
    image = {"name": 'train/cats/a "b" <c>.jpg', "split": "train", "class_name": "cats"}
    assert facts["findings"] == [
        {"severity": "error", "kind": "empty", "sentence": "the file is empty", "images": [image]}
    ]
    assert facts["quarantine"] == [{"name": image["name"], "reason": "empty: the file is empty"}]
    assert facts["num_errors"] == 1


def test_the_face_has_it() -> None:
    assert resnext.inspect is inspect
    assert set(SEVERITIES.values()) == {"error", "warning", "note"}


@pytest.mark.skipif("RESNEXT_SIGN_DIGITS" not in os.environ, reason="RESNEXT_SIGN_DIGITS names no folder of them")
def test_no_healthy_photograph_of_hands_is_named(tmp_path: Path) -> None:
    rng = random.Random(0)
    for class_folder in sorted(Path(os.environ["RESNEXT_SIGN_DIGITS"]).iterdir()):
        files = [path for path in sorted(class_folder.iterdir()) if path.stat().st_size < 100_000]
        (tmp_path / class_folder.name).mkdir()
        for path in rng.sample(files, 100):
            shutil.copy(path, tmp_path / class_folder.name)
    assert kinds(inspect(str(tmp_path))) == {}


@pytest.mark.skipif("RESNEXT_CIFAR10" not in os.environ, reason="RESNEXT_CIFAR10 names no folder with the real files")
def test_the_leaks_that_cifar10_is_known_for_are_found() -> None:
    inspection = inspect(f"cifar10:{os.environ['RESNEXT_CIFAR10']}")
    assert inspection.kinds() == ["leak", "near_duplicate"]
    assert 20 <= len(inspection.of_kind("leak")) <= 40
