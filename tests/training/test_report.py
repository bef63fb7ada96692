import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from resnext.data.dataset import Data, Dataset
from resnext.spec.facts import Choice
from resnext.spec.recipe import Recipe
from resnext.training.conduct import Conduct
from resnext.training.learner import NonFiniteLossError
from resnext.training.loop import EpochReport
from resnext.training.machine import Machine
from resnext.training.run import Run
from resnext.training.task import Task

Start = Callable[..., Run]
Events = Callable[[Path], list[dict[str, Any]]]


def page(run: Run) -> str:
    return run.folder.report.read_text(encoding="utf-8")


def test_a_whole_run_tells_its_scores_classes_and_recipe(start: Start, recipe: Recipe, events: Events) -> None:
    run = start(seed=11)
    list(run)
    result = run.finish()
    assert run.problems == ()
    html = page(run)
    assert result.best is not None
    assert result.test is not None
    for score in (result.best, result.test):
        assert f"{score.top1_error_percent:.2f}</td>" in html
        assert f"{score.loss:.4f}</td>" in html
    told = ["colours", "Whole: 2 epochs of 3 steps.", "red", "green", "blue", recipe.digest()[:12], "resnext11_2x2d"]
    told += ["24 train, 9 val, 9 test", "<dd>11</dd>", "the best epoch is chosen on this split"]
    told += [f"<code>{departure['field']}</code>" for departure in events(run.folder.path)[0]["departures"]]
    assert [fact for fact in told if fact not in html] == []
    assert html.count("<svg") == 6  # four curves, and how sure it is before and after calibration


def test_a_run_stopped_in_its_first_epoch_has_a_page_without_scores(start: Start) -> None:
    run = start()
    next(iter(run))
    run.finish()
    assert run.problems == ()
    assert "Stopped early, in epoch 1 of 2; 0 of them finished." in page(run)
    assert "No epoch was finished" in page(run)


def test_a_run_stopped_later_tells_what_was_best_and_a_resumed_one_tells_all(
    tmp_path: Path, start: Start, run_in: Start
) -> None:
    stopped = start()
    for report in stopped:
        if isinstance(report, EpochReport):
            break
    stopped.finish()
    assert "Stopped early, after epoch 1 of 2." in page(stopped)
    assert "on the val images" in page(stopped)
    resumed = run_in(tmp_path / "run", resumes=True)
    list(resumed)
    resumed.finish()
    assert "Whole: 2 epochs of 3 steps." in page(resumed)
    assert "on the test images" in page(resumed)
    table = page(resumed).partition("<th>started</th>")[2].partition("</table>")[0]
    assert table.count("<tr><td") == 2
    assert resumed.problems == ()


def test_a_run_whose_loss_was_not_finite_says_so(start: Start, recipe: Recipe) -> None:
    run = start(recipe=recipe.replace(optimiser=recipe.optimiser.replace(learning_rate=1e20)))
    with pytest.raises(NonFiniteLossError):
        list(run)
    run.finish()
    assert "Stopped: the loss" in page(run)


def test_a_page_that_cannot_be_made_fails_no_run(start: Start, events: Events, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> str:
        raise RuntimeError("no ink")

    monkeypatch.setattr("resnext.report.run_page.render", fail)
    run = start()
    run.folder.report.write_text("an older page")
    list(run)
    result = run.finish()
    assert result.test is not None
    assert run.problems == (f"{run.folder.report}: not made, no ink",)
    assert not run.folder.report.exists()
    assert events(run.folder.path)[-1]["message"] == run.problems[0]


def test_the_folder_is_free_once_the_page_is_written(start: Start, run_in: Start, tmp_path: Path) -> None:
    run = start()
    list(run)
    run.finish()
    run_in(tmp_path / "run", resumes=True).folder.release()


def test_images_that_cannot_be_scored_are_left_out_of_the_page(
    start: Start, data: Data, damaged: Callable[..., Dataset]
) -> None:
    run = start(data=replace(data, splits={**data.splits, "test": damaged(data.splits["test"], [4])}))
    list(run)
    run.finish()
    assert "% of 8 images" in page(run)
    assert "test[4]: left out, damaged image" in page(run)


def test_data_chosen_on_its_test_set_is_told_on_it_and_not_calibrated(start: Start, data: Data) -> None:
    splits = {name: data.splits[name] for name in ("train", "test")}
    run = start(data=replace(data, splits=splits, selection="test"))
    list(run)
    run.finish()
    assert "Not calibrated: the best epoch was chosen on the test set, and no temperature is fitted on that." in page(
        run
    )


def test_what_a_recipe_chose_is_kept_with_the_run_and_told(tmp_path: Path, data: Data, recipe: Recipe) -> None:
    choices = (Choice("batch_size", 8, "so few images <there are>"),)
    task = Task(data=data, recipe=recipe, choices=choices)
    run = Run(task, Conduct(out=tmp_path / "run"), Machine(device="cpu", num_threads=0))
    list(run)
    run.finish()
    assert "so few images &lt;there are&gt;" in page(run)
    first = json.loads((tmp_path / "run" / "events.jsonl").read_text().splitlines()[0])
    assert first["choices"] == [{"field": "batch_size", "value": 8, "why": "so few images <there are>"}]
