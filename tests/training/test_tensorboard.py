import sys
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from resnext.spec.recipe import Recipe
from resnext.training.loop import EpochReport, StepReport
from resnext.training.run import Run
from resnext.training.tensorboard import Board

pytest.importorskip("tensorboard", reason="the extra tensorboard is not installed")

Start = Callable[..., Run]


def curves(folder: Path) -> dict[str, list[tuple[int, float]]]:
    """Return steps and values of every curve, as TensorBoard shows them."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator  # noqa: PLC0415 - slow

    read = EventAccumulator(str(folder), purge_orphaned_data=True)
    read.Reload()
    found = defaultdict(list)
    for tag in read.Tags()["scalars"]:
        found[tag] = [(event.step, event.value) for event in read.Scalars(tag)]
    return found


@pytest.fixture
def long(recipe: Recipe) -> Recipe:
    """Return a recipe of thirty steps in ten epochs."""
    return recipe.replace(epochs=10)


def test_tensorboard_reads_what_the_run_reported(start: Start, long: Recipe) -> None:
    run = start(recipe=long)
    reports = list(run)
    run.finish()
    found = curves(run.folder.tensorboard)
    ends = [report for report in reports if isinstance(report, EpochReport)]
    expected = {
        "loss/train": [report.train_loss for report in ends],
        "loss/held_out": [report.scores.loss for report in ends],
        "top1_error_percent/train": [report.train_top1_error_percent for report in ends],
        "top1_error_percent/held_out": [report.scores.top1_error_percent for report in ends],
        "learning_rate": [report.learning_rate for report in ends],
        "images_per_second": [report.images_per_second for report in ends],
    }
    for tag, values in expected.items():
        assert [step for step, _ in found[tag]] == [report.step for report in ends]
        assert [value for _, value in found[tag]] == pytest.approx(values, rel=1e-6)
    steps = [report for report in reports if isinstance(report, StepReport) and report.step % 10 == 0]
    assert [value for _, value in found["step/loss"]] == pytest.approx([report.loss for report in steps], rel=1e-6)
    assert [step for step, _ in found["step/loss"]] == [10, 20, 30]
    assert [step for step, _ in found["step/learning_rate"]] == [10, 20, 30]
    assert found.keys() == {*expected, "step/loss", "step/learning_rate"}


def test_what_is_learnt_again_after_a_crash_takes_the_place_of_what_was(
    tmp_path: Path, start: Start, run_in: Start, long: Recipe
) -> None:
    run = start(recipe=long)
    reports = iter(run)
    for report in reports:
        if report.step == 20:  # two steps after the last checkpoint
            break
    reports.close()  # type: ignore[attr-defined]
    run.folder.release()
    assert [step for step, _ in curves(run.folder.tensorboard)["step/loss"]] == [10, 20]
    resumed = run_in(tmp_path / "run", recipe=long, resumes=True)
    assert resumed.first_step == 18
    list(resumed)
    resumed.finish()
    found = curves(run.folder.tensorboard)
    assert [step for step, _ in found["step/loss"]] == [10, 20, 30]
    assert [step for step, _ in found["loss/train"]] == list(range(3, 31, 3))


def test_a_run_that_begins_anew_leaves_no_point_of_the_one_before(tmp_path: Path) -> None:
    def show(step: int, loss: float, board: Board) -> None:
        board.show(
            StepReport(
                epoch=1,
                step=step,
                loss=loss,
                learning_rate=0.1,
                wait_seconds=0.0,
                num_images=8,
                num_correct=4,
                micro_batch_size=None,
                left_out=(),
            )
        )

    before = Board(tmp_path, first_step=0)
    for step in (10, 20, 30):
        show(step, 1.0, before)
    before.close()
    again = Board(tmp_path, first_step=0)
    show(10, 2.0, again)
    again.close()
    assert curves(tmp_path)["step/loss"] == [(10, 2.0)]


def test_without_tensorboard_a_run_is_the_same_but_for_it(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    run = start()
    list(run)
    run.finish()
    assert run.problems == ()
    assert not run.folder.tensorboard.exists()


def test_events_that_cannot_be_written_fail_no_run(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise OSError("No space left on device")

    monkeypatch.setattr("torch.utils.tensorboard.SummaryWriter.add_scalar", fail)
    run = start()
    assert len(list(run)) == 8
    assert run.finish().test is not None
