import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from resnext.training import rehearsal
from resnext.training.memory import Capacity

Cli = Callable[..., Any]

# Only the second process waits for its images, so long that it would be worth knowing whether it does so again.
WAITING_BY_RANK = """
from dataclasses import replace
from resnext.training import forecast
time_steps = forecast.time_steps
forecast.time_steps = lambda run, course: replace(time_steps(run, course), wait_seconds=float(run.world.rank))
"""


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Time steps for a shorter while, in a folder of the test's own."""
    monkeypatch.setattr(rehearsal, "_SECONDS", 0.05)
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def dry(cli: Cli, photos: Path, tiny: Path) -> Cli:
    """Try out the tiny recipe on the photos, with more options."""
    return lambda *options, data=photos: cli("train", data, "--recipe", tiny, "--threads", "0", "--dry-run", *options)


def files(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


def test_everything_is_said_and_nothing_written_but_the_sheet(dry: Cli, tmp_path: Path) -> None:
    shown = dry("--out", tmp_path / "run")
    assert shown.status == 0, shown.err
    assert files(tmp_path) == ["augmented.png"]
    assert "3 classes, 48 train, 6 val, 6 test" in shown.err
    assert "augmentation.crop = " in shown.err
    assert f"a run would write {tmp_path / 'run'}" in shown.err
    for words in ("parameters", "multiply-accumulates an image", "3 steps an epoch, 6 in 2 epochs"):
        assert words in shown.out
    for what in ("weights", "gradients", "momentum", "activations of 16 images at a time", "peak", "are to be had"):
        assert what in shown.out
    for what in ("a step", "scoring after an epoch", "an epoch", "the run", "images/s"):
        assert what in shown.out


def test_the_sheet_has_a_row_for_eight_images_of_eight_pictures(dry: Cli, tmp_path: Path) -> None:
    assert dry("--sheet", tmp_path / "look.png").status == 0
    with Image.open(tmp_path / "look.png") as sheet:
        assert (sheet.format, sheet.width) == ("PNG", 6 + 8 * (96 + 6))
        assert sheet.height > 8 * 96


def test_the_forecast_is_one_json_object(dry: Cli, tmp_path: Path) -> None:
    shown = dry("--json")
    forecast = json.loads(shown.out)
    assert (forecast["model"], forecast["num_steps"], forecast["sheet"]) == ("resnext11_2x2d", 6, "augmented.png")
    assert forecast["memory"]["fits"] is True
    assert forecast["duration"]["run_seconds"] > 0


def test_a_run_after_a_dry_run_is_the_run_without(
    cli: Cli, dry: Cli, trained: Any, photos: Path, tiny: Path, tmp_path: Path, place: Path, kept: Any
) -> None:
    assert dry("--out", tmp_path / "run").status == 0
    assert cli("train", photos, "--recipe", tiny, "--threads", "0", "--out", tmp_path / "run").status == 0
    kept(tmp_path / "run").assert_same(kept(place / "run"))


def test_too_little_memory_is_a_sentence_with_what_to_change(dry: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    room = Capacity(total_bytes=10**6, available_bytes=0)
    monkeypatch.setattr("resnext.training.footprint.capacity", lambda device: room)
    shown = dry()
    assert shown.status == 0
    [line] = [line for line in shown.out.splitlines() if line.startswith("It will not fit: about ")]
    assert "needs less" in line
    assert "No time was measured" in line
    assert "images/s" not in shown.out


@pytest.mark.parametrize("source", ["tar", "streaming"])
def test_a_stream_is_forecast_and_drawn_like_a_folder(
    dry: Cli, written: Callable[[Path], dict[str, str]], tmp_path: Path, source: str
) -> None:
    data = written(tmp_path / "data")[source]
    shown = dry("--json", data=data)
    assert shown.status == 0, shown.err
    forecast = json.loads(shown.out)
    assert forecast["duration"]["run_seconds"] > 0
    assert forecast["memory"]["loading_bytes"] > 0
    with Image.open(tmp_path / "augmented.png") as sheet:
        assert sheet.height > 8 * 96


def test_a_bad_image_is_named_and_does_not_end_it(dry: Cli, spoilt: Path) -> None:
    shown = dry(data=spoilt)
    assert shown.status == 0, shown.err
    assert "bad.png" in shown.err


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--resume", "--out", "run"), "leave out --resume"),
        (("--sheet", "look.jpg"), "a name that ends in .png"),
        (("--sheet", "nowhere/look.png"), "the folder nowhere is not there"),
        (("--micro-batch", "4"), "--set batch_norm_images=4"),
        (("--set", "epochs=0"), "epochs"),
        (("--model", "resnet51"), "depth = 51"),
    ],
    ids=lambda value: value[0] if isinstance(value, tuple) else None,
)
def test_what_cannot_be_used_is_one_sentence(dry: Cli, tmp_path: Path, options: tuple[str, ...], words: str) -> None:
    shown = dry(*options)
    assert (shown.status, shown.out) == (2, "")
    assert shown.err.splitlines()[-1].startswith("Error: ")
    assert words in shown.err
    assert "Traceback" not in shown.err
    assert not (tmp_path / "run").exists()


def test_a_folder_that_a_run_could_not_have_is_refused(dry: Cli, tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "thesis.txt").write_text("precious")
    shown = dry("--out", tmp_path / "run")
    assert (shown.status, shown.out) == (2, "")
    assert "already holds files" in shown.err
    assert files(tmp_path) == ["run", "run/thesis.txt"]


@pytest.mark.parametrize("option", [("--sheet", "look.png"), ("--json",)], ids=lambda option: option[0])
def test_options_of_a_dry_run_need_one(cli: Cli, photos: Path, tiny: Path, option: tuple[str, ...]) -> None:
    shown = cli("train", photos, "--recipe", tiny, *option)
    assert shown.status == 2
    assert shown.err == f"Error: {option[0]} belongs to --dry-run; give both, or neither\n"


def test_several_processes_forecast_together(
    start_ranks: Callable[..., list[Any]], photos: Path, tiny: Path, tmp_path: Path
) -> None:
    options = ("--recipe", tiny, "--threads", "0", "--set", "batch_norm_images=8", "--out", tmp_path / "run")
    ended = [each.wait(120) for each in start_ranks(2, "train", photos, *options, "--dry-run")]
    assert [each.status for each in ended] == [0, 0], ended[0].err + ended[1].err
    assert "of each process" in ended[0].out
    assert "activations of 8 images at a time" in ended[0].out
    assert ended[1].out == ""
    assert files(tmp_path) == ["augmented.png"]


def test_processes_that_wait_unequally_for_images_take_the_same_steps(
    start_ranks: Callable[..., list[Any]], photos: Path, tiny: Path, tmp_path: Path
) -> None:
    options = ("--recipe", tiny, "--threads", "0", "--set", "batch_norm_images=8", "--out", tmp_path / "run")
    ranks = start_ranks(2, "train", photos, *options, "--dry-run", script=WAITING_BY_RANK)
    assert [each.wait(120).status for each in ranks] == [0, 0]


def test_a_full_disk_is_a_failed_job(dry: Cli, tmp_path: Path) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("the device that is always full is Linux's")
    (tmp_path / "full.png").symlink_to("/dev/full")
    shown = dry("--sheet", tmp_path / "full.png")
    assert (shown.status, shown.out) == (1, "")
    assert "full.png could not be written: No space left on device" in shown.err
