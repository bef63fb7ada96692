import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from resnext.artefact.manifest import Calibration, Manifest
from resnext.artefact.store import load_artefact
from resnext.data.dataset import ArrayDataset, Data, Dataset
from resnext.evaluation.calibration import ece_percent, fit_temperature
from resnext.evaluation.outputs import Outputs
from resnext.imaging.transform import normalise, stack
from resnext.model.network import Network
from resnext.spec.recipe import Recipe
from resnext.training.journal import Journal
from resnext.training.loop import EpochReport, StepReport
from resnext.training.run import Run
from resnext.training.scorer import Scorer

Start = Callable[..., Run]


@pytest.fixture(scope="session")
def hard(images: Callable[..., ArrayDataset], data: Data) -> Data:
    """Return data some of whose held-out images are named wrongly, so that no network is right about them all."""
    val = images("val", 30)
    labels = [(label + (index % 5 == 0)) % 3 for index, label in enumerate(val.labels)]
    return replace(data, splits={**data.splits, "val": replace(val, labels=labels)})


@pytest.fixture(scope="session")
def longer(recipe: Recipe) -> Recipe:
    return recipe.replace(epochs=3)


def calibration_of(run: Run, name: str) -> Calibration | None:
    return load_artefact(run.folder.artefact(name))[1].calibration


def fitted(run: Run, name: str, dataset: Dataset) -> tuple[float, float, float]:
    """Return temperature and errors of an artefact on images, computed by hand."""
    network, manifest = load_artefact(run.folder.artefact(name))
    images = [dataset.image(index) for index in range(len(dataset.labels))]
    with torch.inference_mode():
        logits = network(normalise(stack(images), manifest.preprocessing))
    labels = torch.tensor(dataset.labels)
    collected = run.scorer.outputs(network, "val")
    torch.testing.assert_close(collected.logits, logits, rtol=1e-4, atol=1e-4)
    assert torch.equal(collected.labels, labels)
    assert collected.names == tuple(dataset.name(index) for index in range(len(labels)))
    temperature = fit_temperature(replace(collected, logits=logits))
    is_right = logits.argmax(dim=1) == labels
    before, after = (
        ece_percent((logits.double() / t).softmax(dim=1).amax(dim=1), is_right) for t in (1.0, temperature)
    )
    return temperature, before, after


def last_event(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "events.jsonl").read_text().splitlines()[-1])  # type: ignore[no-any-return]


def test_best_and_last_each_have_the_temperature_of_their_own_weights_on_validation(
    start: Start, hard: Data, longer: Recipe
) -> None:
    run = start(data=hard, recipe=longer)
    for report in run:
        if isinstance(report, EpochReport) and report.epoch == 2:
            # The last epoch must not be the best: it starts from a network that says one thing to most.
            run.state.network.head.bias.data.copy_(torch.tensor([1.0, 0.0, 0.0]))
    result = run.finish()
    assert result.best_epoch is not None
    assert result.best_epoch < 3
    found = {name: calibration_of(run, name) for name in ("best", "last")}
    for name, calibration in found.items():
        temperature, before, after = fitted(run, name, hard.indexed("val"))
        assert calibration is not None
        assert (calibration.split, calibration.num_images) == ("val", 30)
        assert calibration.temperature == pytest.approx(temperature, rel=1e-3)
        assert calibration.ece_before_percent == pytest.approx(before, abs=0.1)
        assert calibration.ece_after_percent == pytest.approx(after, abs=0.1)
    assert found["best"] != found["last"]
    assert result.calibration == found["best"]
    assert last_event(run.folder.path)["calibration"] == found["best"].model_dump()


def test_validation_is_read_once_more_where_the_last_epoch_is_the_best_and_test_once(
    start: Start, hard: Data, recipe: Recipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = start(data=hard, recipe=recipe.replace(epochs=1, schedule={}))
    list(run)
    splits: list[str] = []
    collect = Scorer.outputs

    def noted(scorer: Scorer, network: Network, split: str) -> Outputs:
        splits.append(split)
        return collect(scorer, network, split)

    monkeypatch.setattr(Scorer, "outputs", noted)
    result = run.finish()
    assert splits == ["val", "test"]
    assert isinstance(result.calibration, Calibration)
    assert calibration_of(run, "best") == calibration_of(run, "last") == result.calibration


def test_the_test_images_are_no_part_of_it(start: Start, hard: Data, images: Callable[..., ArrayDataset]) -> None:
    other = replace(hard, splits={**hard.splits, "test": images("other", 50)})
    runs = [start(name, data=each) for name, each in (("one", hard), ("two", other))]
    for run in runs:
        list(run)
        run.finish()
    assert calibration_of(runs[0], "best") == calibration_of(runs[1], "best")


def test_where_the_best_epoch_is_chosen_on_the_test_set_there_is_none_and_the_log_says_why(
    start: Start, data: Data
) -> None:
    run = start(data=replace(data, splits={n: data.splits[n] for n in ("train", "test")}, selection="test"))
    list(run)
    result = run.finish()
    assert result.calibration == "the best epoch was chosen on the test set, and no temperature is fitted on that"
    assert last_event(run.folder.path)["calibration"] == result.calibration
    assert [calibration_of(run, name) for name in ("best", "last")] == [None, None]


def test_images_that_are_all_right_have_a_temperature_too(start: Start, data: Data) -> None:
    run = start()
    for report in run:
        if isinstance(report, EpochReport) and report.epoch == 2:
            break
    monochrome = replace(data.splits["val"], labels=said_of(run))  # type: ignore[type-var]
    run.task = replace(run.task, data=replace(data, splits={**data.splits, "val": monochrome}))
    run.scorer = replace(run.scorer, task=run.task)
    result = run.finish()
    assert isinstance(result.calibration, Calibration)
    assert calibration_of(run, "best") == result.calibration
    assert result.calibration.temperature < 1
    assert result.calibration.ece_after_percent < result.calibration.ece_before_percent


def said_of(run: Run) -> list[int]:
    network, _ = load_artefact(run.folder.artefact("best"))
    return [int(label) for label in run.scorer.outputs(network, "val").logits.argmax(dim=1)]


def stopped_at(run: Run, step: int) -> Run:
    for report in run:
        if isinstance(report, StepReport) and report.step == step:
            break
    return run


def test_a_run_stopped_before_anything_was_scored_has_none(start: Start, hard: Data) -> None:
    result = stopped_at(start(data=hard), 2).finish()
    assert result.calibration == "no epoch was scored on the val images"


def test_a_run_stopped_within_a_later_epoch_has_that_of_the_best_so_far_and_none_of_weights_without_a_score(
    start: Start, hard: Data
) -> None:
    run = stopped_at(start(data=hard), 5)
    result = run.finish()
    assert result.calibration == calibration_of(run, "best")
    assert isinstance(result.calibration, Calibration)
    assert calibration_of(run, "last") is None


@pytest.mark.parametrize("failing", ["best", "last"])
def test_a_run_killed_before_its_temperature_was_written_has_it_after_a_resume(
    start: Start, hard: Data, monkeypatch: pytest.MonkeyPatch, failing: str
) -> None:
    whole = start("whole", data=hard)
    list(whole)
    whole.finish()
    run = start("killed", data=hard)
    list(run)
    rewrite = Journal.rewrite

    def killed(journal: Journal, name: str, network: Any, manifest: Manifest) -> None:
        if name == failing:
            raise KeyboardInterrupt
        rewrite(journal, name, network, manifest)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Journal, "rewrite", killed)
        run.finish()
    run.folder.release()
    assert calibration_of(run, failing) is None
    resumed = start("killed", data=hard, resumes=True)
    assert list(resumed) == []
    result = resumed.finish()
    for name in ("best", "last"):
        assert calibration_of(resumed, name) == calibration_of(whole, name)
    assert result.calibration == calibration_of(whole, "best")
    assert isinstance(result.calibration, Calibration)


def test_the_score_on_the_test_split_and_the_temperature_are_kept_side_by_side(start: Start, hard: Data) -> None:
    run = start(data=hard)
    list(run)
    run.finish()
    _, manifest = load_artefact(run.folder.artefact("best"))
    assert manifest.calibration is not None
    assert [measured.split for measured in manifest.measurements] == ["val", "test"]
