import errno
import json
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from resnext.artefact.sealed import write_sealed
from resnext.training.checkpoint import CheckpointError, Checkpoints, Interval, Timer
from resnext.training.loop import StepReport
from resnext.training.run import Run

EVERY_STEP, LAST_STEP = Interval(steps=1), 5
NEWEST, RESERVE = (f"step-{step:09}.safetensors" for step in (LAST_STEP, LAST_STEP - 1))

Kept = Callable[[Path], dict[str, Any]]
Train = Callable[..., Run]


def train_to(run: Run, step: int) -> None:
    for report in run:
        if isinstance(report, StepReport) and report.step == step:
            break


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in (folder / "checkpoints").iterdir())


@pytest.fixture(scope="session")
def stopped(train: Train, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a run stopped in its second epoch, with two checkpoints in it; it is only read."""
    folder = tmp_path_factory.mktemp("stopped") / "run"
    run = train(folder, interval=EVERY_STEP)
    train_to(run, LAST_STEP)
    run.finish()
    return folder


@pytest.fixture
def folder(stopped: Path, tmp_path: Path) -> Path:
    """Return a copy of the stopped run that a test may damage."""
    return Path(shutil.copytree(stopped, tmp_path / "run", ignore=shutil.ignore_patterns(".lock")))


@pytest.fixture(scope="module")
def scratch(stopped: Path, tmp_path_factory: pytest.TempPathFactory) -> Checkpoints:
    """Return the checkpoints of the stopped run, of which the newest may be damaged again and again."""
    copy = tmp_path_factory.mktemp("scratch") / "checkpoints"
    return Checkpoints(Path(shutil.copytree(stopped / "checkpoints", copy)))


def truncate(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 3)


def empty(path: Path) -> None:
    path.write_bytes(b"")


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 4
    path.write_bytes(content)


def replace_by_text(path: Path) -> None:
    path.write_text("not a checkpoint")


def replace_by_artefact(path: Path) -> None:
    shutil.copy(path.parents[1] / "last.safetensors", path)


def replace_by_words_of_another_version(path: Path) -> None:
    write_sealed(path, "checkpoint", '{"format": 2}', {"network.head.bias": torch.zeros(3)})


DAMAGES = (truncate, empty, flip, replace_by_text, replace_by_artefact, replace_by_words_of_another_version)


def test_the_two_newest_checkpoints_are_kept(tmp_path: Path, train: Train) -> None:
    run = train(tmp_path / "run", interval=EVERY_STEP)
    for report in run:
        steps = [step for step in (report.step - 1, report.step) if step]
        assert names(tmp_path / "run") == [f"step-{step:09}.safetensors" for step in steps]


@pytest.mark.parametrize(("interval", "expected"), [(2, [0, 2, 2, 3, 3, 5, 5, 6]), (4, [0, 0, 0, 3, 3, 3, 3, 6])])
def test_checkpoints_are_written_after_so_many_steps_and_after_each_epoch(
    tmp_path: Path, train: Train, interval: int, expected: list[int]
) -> None:
    run = train(tmp_path / "run", interval=Interval(steps=interval))
    newest = [run.folder.checkpoints.newest() for _ in run]
    assert [int(path.stem[5:]) if path else 0 for path in newest] == expected


def test_steps_are_counted_from_where_a_run_goes_on(tmp_path: Path, train: Train) -> None:
    first = train(tmp_path / "run")
    train_to(first, 1)
    first.finish()
    resumed = train(tmp_path / "run", interval=Interval(steps=2))
    train_to(resumed, 2)
    assert names(tmp_path / "run") == ["step-000000001.safetensors"]


def test_a_run_stopped_after_a_step_has_a_checkpoint_of_it(tmp_path: Path, train: Train) -> None:
    run = train(tmp_path / "run")
    train_to(run, 2)
    assert not (tmp_path / "run" / "checkpoints").exists()
    run.finish()
    held = run.folder.checkpoints.read()
    assert held is not None
    assert (held.progress.position.step, held.progress.position.is_epoch_done) == (2, False)


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_newest_checkpoint_is_passed_over_in_a_sentence_and_nothing_is_lost(
    folder: Path, train: Train, undisturbed: Path, kept: Kept, damage: Callable[[Path], None]
) -> None:
    damage(folder / "checkpoints" / NEWEST)
    run = train(folder, interval=EVERY_STEP)
    assert run.first_step == LAST_STEP - 1
    (sentence,) = run.journal.passed_over
    assert sentence.endswith("; going on from the checkpoint before it") and sentence.isprintable()
    *_, attempt = [json.loads(line) for line in (folder / "attempts.jsonl").read_text().splitlines()]
    assert (attempt["passed_over"], attempt["after_step"]) == ([sentence], LAST_STEP - 1)
    list(run)
    run.finish()
    assert kept(folder) == kept(undisturbed)


@pytest.mark.parametrize("damage", [damage for damage in DAMAGES if damage is not replace_by_words_of_another_version])
def test_the_sentence_on_a_damaged_checkpoint_names_its_file(
    folder: Path, train: Train, damage: Callable[[Path], None]
) -> None:
    damage(folder / "checkpoints" / NEWEST)
    assert train(folder).journal.passed_over[0].startswith(f"{folder / 'checkpoints' / NEWEST} ")


def test_the_sentence_on_a_checkpoint_of_another_version_names_its_file(folder: Path, train: Train) -> None:
    replace_by_words_of_another_version(folder / "checkpoints" / NEWEST)
    assert NEWEST in train(folder).journal.passed_over[0]


@settings(max_examples=150)
@given(place=st.floats(0, 1, exclude_max=True), flipped=st.integers(1, 255), is_header=st.booleans())
def test_an_altered_byte_anywhere_is_passed_over_unless_it_means_the_same(
    stopped: Path, scratch: Checkpoints, place: float, flipped: int, is_header: bool
) -> None:
    content = bytearray((stopped / "checkpoints" / NEWEST).read_bytes())
    header = 8 + int.from_bytes(content[:8], "little")
    position = int(place * header) if is_header else header + int(place * (len(content) - header))
    content[position] ^= flipped
    (scratch.folder / NEWEST).write_bytes(content)
    held, whole = scratch.read(), Checkpoints(stopped / "checkpoints").read()
    assert held is not None and whole is not None
    if held.passed_over:
        assert held.progress.position.step == LAST_STEP - 1
    else:  # one kind of white space for another in the header
        assert held.progress == whole.progress
        assert all(torch.equal(held.tensors[name], tensor) for name, tensor in whole.tensors.items())


@given(keep=st.floats(0, 1, exclude_max=True))
def test_a_checkpoint_cut_off_anywhere_is_passed_over(stopped: Path, scratch: Checkpoints, keep: float) -> None:
    content = (stopped / "checkpoints" / NEWEST).read_bytes()
    (scratch.folder / NEWEST).write_bytes(content[: int(keep * len(content))])
    held = scratch.read()
    assert held is not None
    assert (len(held.passed_over), held.progress.position.step) == (1, LAST_STEP - 1)


def test_where_every_checkpoint_is_damaged_that_is_said_in_a_sentence(folder: Path, train: Train) -> None:
    for path in (folder / "checkpoints").iterdir():
        truncate(path)
    before = (folder / "events.jsonl").read_bytes()
    with pytest.raises(CheckpointError, match=r"none of the 2 checkpoints in .* is whole; start a new run$") as caught:
        train(folder)
    assert str(caught.value).isprintable()
    assert (folder / "events.jsonl").read_bytes() == before


def test_a_folder_without_checkpoints_has_none(tmp_path: Path) -> None:
    assert Checkpoints(tmp_path / "none").read() is None
    assert Checkpoints(tmp_path / "none").newest() is None
    (tmp_path / ".step-000000001.safetensors.1.tmp").write_bytes(b"half")
    assert Checkpoints(tmp_path).read() is None


def test_two_whole_checkpoints_are_kept_after_a_damaged_one_was_passed_over(folder: Path, train: Train) -> None:
    truncate(folder / "checkpoints" / NEWEST)
    run = train(folder)
    list(run)
    run.finish()
    truncate(folder / "checkpoints" / "step-000000006.safetensors")
    held = run.folder.checkpoints.read()
    assert held is not None
    assert held.progress.position.step < 6


def test_a_failure_to_write_after_a_damaged_checkpoint_names_the_whole_one(
    folder: Path, train: Train, monkeypatch: pytest.MonkeyPatch
) -> None:
    truncate(folder / "checkpoints" / NEWEST)
    run = train(folder, interval=EVERY_STEP)
    monkeypatch.setattr(Path, "replace", full_disk)
    with pytest.raises(OSError, match=f"{RESERVE} is whole"):
        list(run)


def full_disk(*_: object) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


def test_a_full_disk_is_a_sentence_and_leaves_the_last_checkpoint_whole(
    tmp_path: Path, train: Train, undisturbed: Path, kept: Kept
) -> None:
    run = train(tmp_path / "run", interval=EVERY_STEP)
    with pytest.MonkeyPatch.context() as patch, pytest.raises(OSError, match="No space left") as caught:
        for report in run:
            if report.step == 2:
                patch.setattr(Path, "replace", full_disk)
    message = str(caught.value)
    assert message.startswith(f"{tmp_path}/run/checkpoints/step-000000003.safetensors could not be written: No space")
    assert message.endswith("step-000000002.safetensors is whole; make room and go on with --resume")
    assert message.isprintable()
    run.folder.release()
    resumed = train(tmp_path / "run")
    assert resumed.first_step == 2
    list(resumed)
    resumed.finish()
    assert kept(tmp_path / "run") == kept(undisturbed)


def test_an_event_log_that_cannot_be_flushed_is_named(
    tmp_path: Path, train: Train, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = train(tmp_path / "run", interval=EVERY_STEP)
    monkeypatch.setattr(os, "fsync", full_disk)
    with pytest.raises(OSError, match=r"events\.jsonl could not be written: No space"):
        list(run)


@given(
    number=st.integers(1, 999_999_999),
    unit=st.sampled_from(["", "s", "sec", "min", "h"]),
    gap=st.sampled_from(["", " "]),
)
def test_an_interval_is_a_number_of_steps_or_of_a_unit_of_time(number: int, unit: str, gap: str) -> None:
    seconds = {"s": 1, "sec": 1, "min": 60, "h": 3600}
    expected = Interval(seconds=number * seconds[unit]) if unit else Interval(steps=number)
    assert Interval.parse(f"{gap}{number}{gap}{unit}{gap}") == expected


@pytest.mark.parametrize(
    "text", ["", "0", "0s", "-3", "1.5h", "ten", "10m", "10 days", "h", "5 5", "1e3", "9999999999", "30s30s", "nan"]
)
def test_what_is_no_interval_is_refused_with_examples(text: str) -> None:
    with pytest.raises(ValueError, match="give a number of steps, such as 500, or 30s, 10min or 2h") as caught:
        Interval.parse(text)
    assert f"{text!r}" in str(caught.value)


@given(interval=st.integers(1, 50), first=st.integers(0, 1000), more=st.integers(0, 100))
def test_a_checkpoint_is_due_so_many_steps_after_the_last(interval: int, first: int, more: int) -> None:
    timer = Timer(Interval(steps=interval))
    timer.reset(first)
    assert timer.is_due(first + more) == (more >= interval)


def test_a_checkpoint_is_due_so_many_seconds_after_the_last() -> None:
    now = time.monotonic()
    assert Timer(Interval(seconds=60), at=now - 61).is_due(1)
    assert not Timer(Interval(seconds=60), at=now).is_due(1)
    timer = Timer(Interval(seconds=60), at=now - 61)
    timer.reset(5)
    assert (timer.step, timer.is_due(6)) == (5, False)


def test_without_an_interval_no_checkpoint_is_ever_due() -> None:
    assert not Timer(Interval(), at=time.monotonic() - 1e9).is_due(10**9)
