import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from resnext.artefact.store import load_artefact
from resnext.evaluation.metrics import Scores
from resnext.training.checkpoint import Checkpoints, Interval
from resnext.training.loop import Report, StepReport
from resnext.training.run import Run

NUM_REPORTS = 8  # two epochs of three steps and a scoring
EVERY_STEP = Interval(steps=1)
TORN = b'{"event": "epoch", "time": "2026-0'

Kept = Callable[[Path], dict[str, Any]]
Train = Callable[..., Run]


def numbers(report: Report) -> tuple[object, ...]:
    """Return what does not depend on a clock."""
    if isinstance(report, StepReport):
        return report.epoch, report.step, report.loss, report.num_correct, report.learning_rate, report.left_out
    return report.epoch, report.step, report.train_loss, report.train_top1_error_percent, report.scores


def reports_until(run: Run, number: int) -> list[tuple[object, ...]]:
    """Train until so many reports have come, or the end."""
    made: list[tuple[object, ...]] = []
    if number == 0:
        return made
    for report in run:
        made.append(numbers(report))
        if len(made) == number:
            break
    return made


def crash(run: Run) -> None:
    """Leave a run as a killed process does: nothing is written, but the system takes the lock back."""
    run.folder.release()


def copied(source: Path, target: Path) -> Path:
    """Copy a run folder; what this process was writing in it becomes what another one was."""
    shutil.copytree(source, target, ignore=shutil.ignore_patterns(".lock"))
    for leftover in target.rglob(f".*.{os.getpid()}.tmp"):
        leftover.rename(leftover.with_name(leftover.name.replace(str(os.getpid()), "1")))
    return target


@pytest.fixture(scope="module")
def crashes(train: Train, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Return copies of a run's folder, at every report and whenever something was written but not yet flushed."""
    root = tmp_path_factory.mktemp("crashes")
    made: list[Path] = []
    flush = os.fsync

    def snapshot() -> None:
        made.append(copied(root / "run", root / f"copy-{len(made)}"))

    def flush_later(descriptor: int) -> None:
        snapshot()
        flush(descriptor)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", flush_later)
        run = train(root / "run", interval=EVERY_STEP)
        for _ in run:
            snapshot()
        run.finish()
        snapshot()
    return made


@pytest.fixture(scope="module")
def whole(train: Train, tmp_path_factory: pytest.TempPathFactory) -> list[tuple[object, ...]]:
    """Return the reports of a run that was never stopped."""
    return [numbers(report) for report in train(tmp_path_factory.mktemp("whole") / "run")]


def test_the_undisturbed_run_meets_all_that_could_go_wrong(undisturbed: Path, kept: Kept) -> None:
    found = kept(undisturbed)
    assert [event["event"] for event in found["events"]].count("problem") == 6
    assert {name.split()[1].split(".")[0] for name in found if name.startswith("checkpoint ")} == {
        "network",
        "average",
        "momentum",
    }
    assert [measured.split for measured in found["best measurements"]] == ["val", "test"]
    assert None not in (found["best calibration"], found["last calibration"])
    assert found["checkpoint network.head.weight"] != found["checkpoint average.head.weight"]


@pytest.mark.parametrize("number", range(NUM_REPORTS + 1))
def test_a_run_stopped_anywhere_and_resumed_ends_as_one_that_never_stopped(
    tmp_path: Path, train: Train, undisturbed: Path, whole: list[tuple[object, ...]], kept: Kept, number: int
) -> None:
    stopped = train(tmp_path / "run")
    first = reports_until(stopped, number)
    stopped.finish()
    resumed = train(tmp_path / "run")
    assert resumed.first_step == stopped.state.step
    assert first + reports_until(resumed, NUM_REPORTS) == whole
    resumed.finish()
    assert kept(tmp_path / "run") == kept(undisturbed)


@settings(max_examples=10)
@given(
    starts=st.lists(st.tuples(st.integers(0, 4), st.booleans(), st.sampled_from([1, 2, 5])), min_size=2, max_size=5),
    num_threads=st.integers(0, 2),
)
def test_a_run_stopped_or_killed_again_and_again_ends_as_one_that_never_stopped(
    tmp_path_factory: pytest.TempPathFactory,
    train: Train,
    undisturbed: Path,
    kept: Kept,
    starts: list[tuple[int, bool, int]],
    num_threads: int,
) -> None:
    folder = tmp_path_factory.mktemp("again") / "run"
    for number, is_killed, steps in starts:
        run = train(folder, interval=Interval(steps=steps), machine={"num_threads": num_threads})
        reports_until(run, number)
        if is_killed:
            crash(run)
        else:
            run.finish()
    run = train(folder)
    list(run)
    run.finish()
    assert kept(folder) == kept(undisturbed)


def test_the_copies_are_of_runs_killed_before_and_within_and_after_every_kind_of_write(crashes: list[Path]) -> None:
    written = {path.name.split(".")[1] for folder in crashes for path in folder.rglob("*.tmp")}
    assert written == {"recipe", "best", "last", "report", *(f"step-{step:09}" for step in range(1, 7))}
    numbers = {len(list((folder / "checkpoints").glob("step-*"))) for folder in crashes}
    assert numbers == {0, 1, 2, 3}


def test_a_run_killed_during_any_write_goes_on_to_the_same_end(
    tmp_path: Path, crashes: list[Path], train: Train, undisturbed: Path, kept: Kept
) -> None:
    for source in crashes:
        folder = copied(source, tmp_path / source.name)
        for leftover in folder.rglob(".*.tmp"):
            os.truncate(leftover, leftover.stat().st_size // 2)
        with (folder / "events.jsonl").open("ab") as file:
            file.write(TORN)
        run = train(folder, interval=EVERY_STEP)
        list(run)
        run.finish()
        assert kept(folder) == kept(undisturbed), source
        assert not list((folder / "checkpoints").glob(".*"))
        assert len(list((folder / "checkpoints").iterdir())) == 2


def test_nothing_that_a_killed_run_was_writing_is_left_behind_after_a_resume(
    tmp_path: Path, crashes: list[Path], train: Train
) -> None:
    folder = copied(next(path for path in crashes if any(path.glob(".best*.tmp"))), tmp_path / "run")
    run = train(folder)
    list(run)
    run.finish()
    assert not [path.name for path in folder.rglob("*.tmp")]


def test_every_line_of_the_attempts_is_json_though_a_crash_tore_one(tmp_path: Path, train: Train) -> None:
    crash(train(tmp_path / "run"))
    with (tmp_path / "run" / "attempts.jsonl").open("ab") as file:
        file.write(TORN)
    crash(train(tmp_path / "run"))
    *_, last = (tmp_path / "run" / "attempts.jsonl").read_text().splitlines()
    assert last.startswith('{"time"')


@pytest.mark.parametrize("machine", [{"precision": "fp16"}, {"precision": "bf16"}, {"form": "concatenated"}])
def test_a_run_in_any_precision_and_form_goes_on_bit_for_bit(
    tmp_path: Path, train: Train, kept: Kept, machine: dict[str, Any]
) -> None:
    straight = train(tmp_path / "straight", machine=machine)
    list(straight)
    straight.finish()
    for number in (2, 3):
        run = train(tmp_path / "stopped", machine=machine)
        reports_until(run, number)
        run.finish()
    run = train(tmp_path / "stopped", machine=machine)
    list(run)
    run.finish()
    assert kept(tmp_path / "stopped") == kept(tmp_path / "straight")


@pytest.mark.parametrize("change", [{"form": "aggregated"}, {"micro_batch_size": 4}])
def test_a_run_goes_on_with_another_layout_to_the_same_end_within_rounding(
    tmp_path: Path,
    train: Train,
    relative_error: Callable[[Tensor, Tensor], float],
    change: dict[str, Any],
) -> None:
    straight = train(tmp_path / "straight", machine={"precision": "fp64"})
    list(straight)
    stopped = train(tmp_path / "stopped", machine={"precision": "fp64"})
    reports_until(stopped, 2)
    stopped.finish()
    resumed = train(tmp_path / "stopped", machine={"precision": "fp64", **change})
    list(resumed)
    these, those = resumed.state.tensors(), straight.state.tensors()
    assert these.keys() == those.keys()
    assert max(relative_error(these[name], those[name]) for name in those) < 1e-9


def test_a_finished_run_resumed_ends_again_with_the_same_result(
    tmp_path: Path, train: Train, undisturbed: Path, kept: Kept
) -> None:
    folder = copied(undisturbed, tmp_path / "run")
    for _ in range(2):
        run = train(folder)
        assert list(run) == []
        result = run.finish()
        assert kept(folder) == kept(undisturbed)
        assert result.test == kept(undisturbed)["best measurements"][1]
        assert (result.num_epochs, result.last) == (2, kept(undisturbed)["last measurements"][0])


def test_wall_time_adds_up_over_the_starts_of_a_run(tmp_path: Path, train: Train) -> None:
    first = train(tmp_path / "run")
    reports_until(first, 3)
    seconds = first.finish().wall_seconds
    second = train(tmp_path / "run")
    list(second)
    assert second.finish().wall_seconds > seconds


def test_every_start_of_a_run_is_written_down(
    tmp_path: Path, train: Train, events: Callable[[Path], list[dict[str, Any]]]
) -> None:
    for number in (2, 1, 3):
        run = train(tmp_path / "run", machine={"micro_batch_size": 4})
        reports_until(run, number)
        run.finish()
    attempts = (tmp_path / "run" / "attempts.jsonl").read_text().splitlines()
    assert [f'"after_step": {step}' in line for step, line in zip((0, 2, 3), attempts, strict=True)] == [True] * 3
    assert all('"micro_batch_size": 4' in line for line in attempts)
    assert [event["event"] for event in events(tmp_path / "run")].count("start") == 1


def test_the_best_artefact_is_that_of_the_best_epoch_though_an_epoch_scored_otherwise_when_learnt_again(
    tmp_path: Path, train: Train, monkeypatch: pytest.MonkeyPatch
) -> None:
    # On a GPU steps need not repeat exactly. The second epoch is best, then killed before its checkpoint, then not.
    errors = iter([50.0, 20.0, 60.0, 1.0])

    def score(*_: object) -> tuple[Scores, tuple[str, ...]]:
        return Scores(
            num_images=9, top1_error_percent=next(errors), top5_error_percent=None, loss=1.0, classes=(), confusion=()
        ), ()

    monkeypatch.setattr("resnext.training.scorer.score", score)
    run = train(tmp_path / "run")
    reports_until(run, NUM_REPORTS - 1)
    with monkeypatch.context() as patch, pytest.raises(OSError, match="full"):
        patch.setattr(Checkpoints, "write", full_disk)
        list(run)
    crash(run)
    resumed = train(tmp_path / "run")
    list(resumed)
    result = resumed.finish()
    assert result.best_epoch == 1
    _, manifest = load_artefact(result.artefact)
    assert manifest.provenance is not None
    assert (manifest.provenance.epoch, manifest.measurements[0]) == (1, result.best)


def full_disk(*_: object) -> None:
    raise OSError("the disk is full")


def test_a_run_killed_before_its_first_event_is_begun_again(tmp_path: Path, train: Train) -> None:
    crash(train(tmp_path / "run"))
    (tmp_path / "run" / "events.jsonl").unlink()
    (tmp_path / "run" / "recipe.toml").unlink()
    assert train(tmp_path / "run").first_step == 0


def test_a_whole_run_that_is_resumed_keeps_its_calibration_and_its_test_score(
    undisturbed: Path, train: Train, tmp_path: Path
) -> None:
    folder = copied(undisturbed, tmp_path / "run")
    names = [path.name for path in folder.glob("*.safetensors")]
    before = {name: (folder / name).read_bytes() for name in names}
    crash(train(folder))
    assert {name: (folder / name).read_bytes() for name in names} == before
    _, manifest = load_artefact(folder / "best.safetensors")
    assert manifest.calibration is not None
    assert [measured.split for measured in manifest.measurements] == ["val", "test"]
