import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from safetensors import safe_open


@pytest.fixture
def faulty(spoilt: Path) -> Path:
    """Make a folder with a damaged image, and one that is in two classes."""
    (spoilt / "blue" / "copy.png").write_bytes((spoilt / "red" / "00.png").read_bytes())
    return spoilt


def test_findings_are_printed_and_nothing_is_changed(cli: Callable[..., Any], faulty: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in faulty.rglob("*")}
    shown = cli("inspect", faulty)
    assert (shown.status, shown.err) == (0, "")
    for words in (
        "3 classes",
        "red/bad.png: damaged image: ",
        "blue/copy.png, red/00.png: 2 copies of one image, equal in every pixel, in the classes blue and red",
        "2 errors, 0 warnings, 0 notes; 3 images are better left out",
    ):
        assert words in shown.out
    assert {path: path.stat().st_mtime_ns for path in faulty.rglob("*")} == before


def test_data_without_one_image_that_can_be_decoded_is_inspected(cli: Callable[..., Any], tmp_path: Path) -> None:
    for class_name in ("cats", "dogs"):
        (tmp_path / class_name).mkdir()
        (tmp_path / class_name / "1.jpg").write_text("words")
    shown = cli("inspect", tmp_path, "--html", tmp_path / "page.html")
    assert shown.status == 0
    assert "2 errors" in shown.out
    assert "No image can be decoded" in (tmp_path / "page.html").read_text()


def test_a_name_in_an_old_encoding_is_printed(photos: Path, tmp_path: Path) -> None:
    shutil.copytree(photos, tmp_path / "copy")
    Path(f"{tmp_path}/copy/red/caf\udce9.png").touch()
    script = "import sys; sys.argv = ['resnext', 'inspect', sys.argv[1]]; from resnext.__main__ import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", script, tmp_path / "copy"],
        env={**os.environ, "PYTHONIOENCODING": "utf-8:strict"},
        capture_output=True,
        timeout=60,
        check=True,
    )
    assert b"red/caf\xe9.png: the file is empty" in done.stdout


def test_errors_are_a_failure_where_strict(cli: Callable[..., Any], faulty: Path, photos: Path) -> None:
    assert cli("inspect", faulty, "--strict").status == 1
    shown = cli("inspect", photos, "--strict")
    assert shown.status == 0
    assert "Nothing found." in shown.out


def test_json_is_one_object(cli: Callable[..., Any], faulty: Path) -> None:
    shown = cli("inspect", faulty, "--json")
    facts = json.loads(shown.out)
    assert (shown.status, shown.err) == (0, "")
    assert (facts["num_images"], facts["num_errors"]) == (62, 2)
    assert {image["name"] for image in facts["quarantine"]} == {"blue/copy.png", "red/00.png", "red/bad.png"}


def test_the_page_holds_the_pictures(cli: Callable[..., Any], faulty: Path, tmp_path: Path) -> None:
    odd = '<script>alert(1)</script> "a" & b.png'.replace("/", "_")
    (faulty / "blue" / "copy.png").rename(faulty / "blue" / odd)
    shown = cli("inspect", faulty, "--html", tmp_path / "page.html")
    assert (shown.status, shown.err) == (0, f"Page with pictures: {tmp_path / 'page.html'}\n")
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert page.count("data:image/jpeg;base64,") == 2
    assert "<script" not in page and "http" not in page


def test_that_a_crowd_of_one_layout_was_compared_in_part_is_said_in_a_sentence(
    cli: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = np.random.default_rng(0)
    layout = np.kron(rng.integers(60, 190, (8, 8)), np.ones((8, 8)))
    for number in range(24):
        marks = np.kron(16 * rng.normal(size=(32, 32)), np.ones((2, 2)))
        (tmp_path / "forms" / "ab"[number % 2]).mkdir(parents=True, exist_ok=True)
        picture = Image.fromarray((layout + marks).clip(0, 255).astype(np.uint8))
        picture.save(tmp_path / "forms" / "ab"[number % 2] / f"{number:02}.png")
    assert "compared" not in cli("inspect", tmp_path / "forms").out
    monkeypatch.setattr("resnext.data.copies._MOST_COMPARED", 4)
    sentence = (
        "24 images, too many that look much alike at first sight to compare each with each;"
        " near copies among them may be missed"
    )
    shown = cli("inspect", tmp_path / "forms", "--html", tmp_path / "page.html")
    assert f".png, and 19 more: {sentence}\n" in shown.out
    assert sentence in (tmp_path / "page.html").read_text(encoding="utf-8")
    [finding] = json.loads(cli("inspect", tmp_path / "forms", "--json").out)["findings"]
    assert (finding["kind"], finding["severity"], finding["sentence"]) == ("compared_in_part", "note", sentence)
    assert len(finding["images"]) == 24


def test_training_and_scoring_leave_out_what_is_in_quarantine(
    cli: Callable[..., Any], faulty: Path, tiny: Path, tmp_path: Path
) -> None:
    listed = tmp_path / "bad list.txt"
    assert cli("inspect", faulty, "--quarantine", listed).err == f"List of 3 images to leave out: {listed}\n"
    given = ("--quarantine", listed, "--strict")
    done = cli(
        "train", faulty, "--recipe", tiny, "--set", "epochs=1", "--out", tmp_path / "run", "--threads", 0, *given
    )
    assert done.status == 0, done.err
    assert "3 classes, 47 train, 6 val, 6 test" in done.err
    artefact = tmp_path / "run" / "best.safetensors"
    scored = cli("evaluate", artefact, faulty, "--split", "all", "--json", *given)
    assert json.loads(scored.out)["num_images"] == 59
    for name in ("blue/copy.png", "red/00.png", "red/bad.png"):
        (faulty / name).unlink()
    again = cli("train", faulty, "--recipe", tiny, "--set", "epochs=1", "--out", tmp_path / "again", "--threads", 0)
    assert again.status == 0, again.err
    with safe_open(artefact, "np") as one, safe_open(tmp_path / "again" / "best.safetensors", "np") as other:
        assert all((one.get_tensor(name) == other.get_tensor(name)).all() for name in one.keys())  # noqa: SIM118


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--html", "nowhere/page.html"), "nowhere is no folder"),
        (("--html", "."), ". is a folder; give the name of a file"),
        (("--quarantine", "nowhere/list.txt"), "nowhere is no folder"),
        (("--quarantine", __file__), "exists, and may have been edited"),
    ],
)
def test_a_place_that_cannot_be_written_is_refused_first(
    cli: Callable[..., Any], arguments: tuple[str, ...], words: str
) -> None:
    shown = cli("inspect", "no such data", *arguments)
    assert (shown.status, shown.out) == (2, "")
    assert words in shown.err


def test_a_list_that_is_not_there_is_refused(cli: Callable[..., Any], photos: Path, tiny: Path) -> None:
    shown = cli("train", photos, "--recipe", tiny, "--quarantine", "none.txt")
    assert (shown.status, shown.err) == (
        2,
        "Error: none.txt: the quarantine list cannot be read, No such file or directory\n",
    )


def test_unknown_data_is_refused(cli: Callable[..., Any]) -> None:
    shown = cli("inspect", "nowhere")
    assert (shown.status, shown.out) == (2, "")
    assert shown.err.startswith("Error: no data at 'nowhere'")
