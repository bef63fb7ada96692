import json
import math
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from resnext.artefact.store import load_artefact
from resnext.data.dataset import Data
from resnext.evaluation.metrics import Scores
from resnext.spec.recipe import Recipe
from resnext.training.learner import NonFiniteLossError
from resnext.training.loop import EpochReport, StepReport
from resnext.training.machine import Machine
from resnext.training.run import Run, train

Start = Callable[..., Run]


def events(folder: Path) -> list[dict[str, Any]]:
    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is not JSON")

    lines = (folder / "events.jsonl").read_text().splitlines()
    return [json.loads(line, parse_constant=refuse) for line in lines]


def stored(run: Run, name: str) -> dict[str, Tensor]:
    return load_artefact(run.folder.artefact(name))[0].state_dict()


def learnt(run: Run) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in run.state.network.state_dict().items()}


def all_equal(these: dict[str, Tensor], those: dict[str, Tensor]) -> bool:
    assert these.keys() == those.keys()
    return all(torch.equal(these[name], those[name]) for name in these)


def train_to(run: Run, step: int) -> None:
    for report in run:
        if isinstance(report, StepReport) and report.step == step:
            break


def scores(loss: float) -> Scores:
    return Scores(num_images=9, top1_error_percent=50, top5_error_percent=None, loss=loss, classes=(), confusion=())


@pytest.fixture
def scored(monkeypatch: pytest.MonkeyPatch) -> list[Scores]:
    """Have a run score the same every time, and return what it has scored so far."""
    made: list[Scores] = []

    def score(*_: Any) -> tuple[Scores, tuple[str, ...]]:
        made.append(scores(1.0))
        return made[-1], ()

    monkeypatch.setattr("resnext.training.scorer.score", score)
    return made


def wild(recipe: Recipe, **changes: Any) -> Recipe:
    return recipe.replace(optimiser=recipe.optimiser.replace(learning_rate=1e30), schedule={}, **changes)


def test_a_run_stopped_within_its_first_epoch_keeps_what_was_learnt(start: Start) -> None:
    run = start()
    train_to(run, 2)
    result = run.finish()
    assert result.artefact == run.folder.artefact("last")
    assert all_equal(stored(run, "last"), learnt(run))
    assert (result.best, result.best_epoch, result.last, result.test) == (None, None, None, None)
    assert not run.folder.artefact("best").exists()
    assert load_artefact(result.artefact)[1].measurements == ()


@pytest.mark.parametrize("last_step", [4, 7])
def test_a_run_stopped_within_a_later_epoch_is_not_whole_and_leaves_the_test_split_alone(
    start: Start, recipe: Recipe, scored: list[Scores], last_step: int
) -> None:
    run = start(recipe=recipe.replace(epochs=3))
    train_to(run, last_step)
    num_scored = len(scored)
    result = run.finish()
    assert (result.test, len(scored)) == (None, num_scored)
    assert events(run.folder.path)[-1]["is_whole"] is False
    assert all_equal(stored(run, "last"), learnt(run))
    assert result.best_epoch == 1
    assert result.artefact == run.folder.artefact("best")


def test_weights_that_were_not_scored_have_no_score(start: Start) -> None:
    run = start()
    train_to(run, 4)
    result = run.finish()
    assert load_artefact(run.folder.artefact("last"))[1].measurements == ()
    assert result.last is None


def test_a_run_stopped_after_its_last_epoch_is_whole(start: Start) -> None:
    run = start()
    for report in run:
        if isinstance(report, EpochReport) and report.epoch == 2:
            break
    assert run.finish().test is not None
    assert events(run.folder.path)[-1]["is_whole"] is True


@pytest.mark.parametrize("value", [math.inf, math.nan])
def test_a_loss_that_is_not_finite_at_the_first_step_is_reported_with_nothing_kept(start: Start, value: float) -> None:
    run = start()
    run.state.network.head.weight.data.fill_(value)
    with pytest.raises(NonFiniteLossError, match=r"step 1\b.*no epoch was finished"):
        list(run)
    last = events(run.folder.path)[-1]
    assert (last["event"], last["step"], len(last["images"])) == ("non_finite_loss", 1, 8)
    assert not list(run.folder.path.glob("*.safetensors"))


def test_a_loss_that_stops_being_finite_keeps_the_last_whole_epoch(start: Start) -> None:
    run = start()
    good: dict[str, Tensor] = {}
    with pytest.raises(NonFiniteLossError, match=r"step 4\b.*epoch 2\b") as caught:
        for report in run:
            if isinstance(report, EpochReport):
                good = learnt(run)
                run.state.network.head.weight.data.fill_(math.inf)
    assert str(run.folder.artefact("last")) in str(caught.value)
    assert "learning_rate=0.025" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert all_equal(stored(run, "last"), good)
    assert all_equal(stored(run, "best"), good)
    last = events(run.folder.path)[-1]
    assert (last["event"], last["step"], tuple(last["images"])) == ("non_finite_loss", 4, caught.value.names)


def test_an_exploding_learning_rate_is_met_at_the_second_step(start: Start, recipe: Recipe) -> None:
    with pytest.raises(NonFiniteLossError, match=r"step 2\b"):
        list(start(recipe=wild(recipe)))


def test_a_run_whose_loss_stops_being_finite_is_reported_with_what_was_good(
    data: Data, recipe: Recipe, tmp_path: Path
) -> None:
    with pytest.raises(NonFiniteLossError, match=r"step 2\b"):
        train(data, wild(recipe), tmp_path / "run", machine=Machine(device="cpu", num_threads=0))
    assert events(tmp_path / "run")[-1]["event"] == "end"
    assert "the loss became" in (tmp_path / "run" / "report.html").read_text()


def test_weights_that_score_no_finite_loss_are_never_kept(start: Start, recipe: Recipe) -> None:
    # One step an epoch: the weights explode in the last step before the scoring, whose loss shows it first.
    run = start(recipe=wild(recipe, batch_size=24))
    with pytest.raises(NonFiniteLossError, match=r"step 1\b"):
        list(run)
    assert "non_finite_loss" in [event["event"] for event in events(run.folder.path)]
    for path in run.folder.path.glob("*.safetensors"):
        network, manifest = load_artefact(path)
        assert all(tensor.isfinite().all() for tensor in network.state_dict().values())
        assert all(math.isfinite(measured.loss) for measured in manifest.measurements)


def test_a_held_out_loss_that_stops_being_finite_keeps_the_epoch_before(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    losses = iter([1.0, math.nan])
    monkeypatch.setattr("resnext.training.scorer.score", lambda *_: (scores(next(losses)), ()))
    run = start()
    good: dict[str, Tensor] = {}
    with pytest.raises(NonFiniteLossError, match=r"held-out loss.*step 6\b.*epoch 2\b"):
        for report in run:
            if isinstance(report, EpochReport):
                good = learnt(run)
    assert all_equal(stored(run, "last"), good)
    assert all_equal(stored(run, "best"), good)


def test_finishing_after_a_loss_that_was_not_finite_keeps_no_spoilt_weights(start: Start, recipe: Recipe) -> None:
    run = start(recipe=wild(recipe, batch_size=24))
    with pytest.raises(NonFiniteLossError):
        list(run)
    run.finish()
    assert not list(run.folder.path.glob("*.safetensors"))


def test_the_event_of_a_held_out_loss_names_the_step_that_the_message_does(start: Start, recipe: Recipe) -> None:
    run = start(recipe=wild(recipe, batch_size=24))
    with pytest.raises(NonFiniteLossError, match=r"step 1\b"):
        list(run)
    assert events(run.folder.path)[-1]["step"] == 1


def test_the_loader_threads_end_with_a_run_that_is_stopped(start: Start) -> None:
    def loaders() -> list[str]:
        return [thread.name for thread in threading.enumerate() if thread.name.startswith("loader")]

    run = start(machine={"num_threads": 2})
    before = len(loaders())
    reports = iter(run)
    next(reports)
    assert len(loaders()) > before
    reports.close()  # type: ignore[attr-defined]
    deadline = time.monotonic() + 10
    while len(loaders()) > before and time.monotonic() < deadline:
        time.sleep(0.01)
    assert len(loaders()) == before
