import json
from collections.abc import Callable
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import resnext
from resnext.artefact.store import load_artefact
from resnext.artefact.weights import Weights
from resnext.data.dataset import Data, Dataset
from resnext.data.views import pictures
from resnext.spec.recipe import Recipe
from resnext.training import rehearsal
from resnext.training.forecast import Forecast, forecast_of
from resnext.training.loop import Course
from resnext.training.machine import Machine
from resnext.training.memory import Capacity
from resnext.training.run import Run
from resnext.training.task import Task
from resnext.training.world import World

HERE = Machine(device="cpu", num_threads=0)


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Time steps for a shorter while."""
    monkeypatch.setattr(rehearsal, "_SECONDS", 0.05)


@pytest.fixture
def forecast(data: Data, recipe: Recipe) -> Forecast:
    return forecast_of(Task(data=data, recipe=recipe), HERE, World())


def test_a_forecast_has_the_size_of_the_run(forecast: Forecast, recipe: Recipe) -> None:
    assert forecast.model == "resnext11_2x2d"
    assert (forecast.num_epochs, forecast.steps_per_epoch, forecast.num_steps) == (2, 3, 6)
    assert forecast.params == resnext.complexity(recipe.network(), 16).params
    assert forecast.advice is None


def test_the_times_add_up(forecast: Forecast) -> None:
    taken = forecast.duration
    assert taken is not None
    after_steps = taken.scoring_seconds + taken.writing_seconds
    assert taken.epoch_seconds == pytest.approx(3 * taken.step_seconds + after_steps)
    assert taken.first_epoch_seconds == pytest.approx(3 * taken.first_step_seconds + after_steps)
    # At the end the best is calibrated and tested, on two splits of as many images as are scored after each epoch.
    both = taken.first_epoch_seconds + taken.epoch_seconds
    assert taken.run_seconds == pytest.approx(both + 2 * taken.scoring_seconds)
    assert taken.images_per_second == pytest.approx(8 / taken.step_seconds)
    assert taken.num_timed_steps >= 1


def test_the_forecast_is_plain_json_with_what_follows_from_it(forecast: Forecast) -> None:
    plain = json.loads(json.dumps(forecast.plain()))
    assert plain["memory"]["peak_bytes"] == forecast.memory.peak_bytes
    assert plain["duration"]["run_seconds"] > 0


def test_frozen_epochs_are_forecast_to_take_less(
    data: Data, recipe: Recipe, weights: Weights, monkeypatch: pytest.MonkeyPatch
) -> None:
    step = rehearsal.StepTime(seconds=10.0, wait_seconds=1.0, num_steps=3)
    monkeypatch.setattr("resnext.training.forecast.time_steps", lambda run, course: step)
    whole, frozen = (
        forecast_of(
            Task(data=data, recipe=recipe.replace(fine_tuning={"frozen_epochs": number}), weights=weights),
            HERE,
            World(),
        ).duration
        for number in (0, 1)
    )
    assert whole is not None
    assert frozen is not None
    assert whole.run_seconds - frozen.run_seconds == pytest.approx(3 * 9.0 * 2 / 3, abs=1.0)


def test_nothing_is_timed_where_memory_does_not_suffice(
    data: Data, recipe: Recipe, monkeypatch: pytest.MonkeyPatch
) -> None:

    tiny = Capacity(total_bytes=2**20, available_bytes=2**10)
    monkeypatch.setattr("resnext.training.footprint.capacity", lambda device: tiny)
    monkeypatch.setattr("resnext.training.footprint.resident_bytes", lambda: 0)
    forecast = forecast_of(Task(data=data, recipe=recipe), HERE, World())
    assert forecast.duration is None
    assert forecast.advice is not None
    assert not forecast.memory.fits


def test_images_that_cannot_be_read_do_not_end_it(imperfect: Data, demanding: Recipe) -> None:
    assert forecast_of(Task(data=imperfect, recipe=demanding), HERE, World()).duration is not None


def test_the_face_takes_what_training_takes(data: Data, recipe: Recipe) -> None:
    assert resnext.forecast(data, recipe, seed=3, machine=HERE).num_steps == 6
    with pytest.raises(ValueError, match="batch_norm_images is left out"):
        resnext.forecast(data, recipe, machine=replace(HERE, micro_batch_size=4))


def test_a_run_after_a_forecast_is_the_run_without(
    data: Data, recipe: Recipe, start: Callable[..., Run], tmp_path: Path
) -> None:
    learnt: list[dict[str, Tensor]] = []
    for name in ("without", "after"):
        torch.manual_seed(7)
        if name == "after":
            forecast_of(Task(data=data, recipe=recipe), HERE, World())
        drawn = torch.rand(3)
        run = start(name)
        for _ in run:
            continue
        run.finish()
        network, _ = load_artefact(tmp_path / name / "last.safetensors")
        learnt.append({**network.state_dict(), "drawn": drawn})
    assert all(torch.equal(tensor, learnt[1][key]) for key, tensor in learnt[0].items())


def test_a_rehearsal_leaves_no_folder(
    data: Data, recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with rehearsal.rehearsal(Task(data=data, recipe=recipe), HERE, World()) as run:
        assert run.folder.path.is_relative_to(tmp_path)
        assert run.folder.path.is_dir()
    assert list(tmp_path.iterdir()) == []


def test_the_second_timing_is_of_the_same_images(data: Data, recipe: Recipe) -> None:
    seen: list[int] = []

    class Watched:
        def __init__(self, images: Dataset) -> None:
            self.images, self.labels = images, images.labels

        def name(self, index: int) -> str:
            return self.images.name(index)

        def image(self, index: int) -> Any:
            seen.append(index)
            return self.images.image(index)

    watched = replace(data, splits={**data.splits, "train": Watched(data.indexed("train"))})
    with rehearsal.rehearsal(Task(data=watched, recipe=recipe), HERE, World()) as run:
        course = run.course()
        first = rehearsal.time_steps(run, course)
        assert sorted(seen) == list(range(24))
        again = rehearsal.time_steps(run, course)
    assert sorted(seen) == list(range(24))
    assert first.num_steps == again.num_steps == 1
    assert 0 <= again.wait_seconds < again.seconds


def test_few_images_spread_over_the_split_are_scored(data: Data, recipe: Recipe) -> None:
    short = rehearsal.scored_in_part(Task(data=data, recipe=recipe.replace(batch_size=2)))
    part = short.data.indexed("val")
    assert [part.name(index) for index in range(4)] == [data.indexed("val").name(index) for index in (0, 2, 4, 6)]
    assert len(part.labels) == 4


def test_the_first_images_of_a_stream_are_scored(streamed: Data, recipe: Recipe) -> None:
    short = rehearsal.scored_in_part(Task(data=streamed, recipe=recipe.replace(batch_size=2)))
    part, whole = short.data.split("val"), streamed.split("val")
    assert [picture.name for picture in pictures(part)] == [picture.name for picture in islice(pictures(whole), 4)]


def test_a_stream_is_timed_once_because_it_is_read_anew_each_epoch(
    streamed: Data, recipe: Recipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    step = rehearsal.StepTime(seconds=10.0, wait_seconds=9.0, num_steps=3)
    timed: list[Run] = []

    def time_steps(run: Run, course: Course) -> rehearsal.StepTime:
        timed.append(run)
        return step

    monkeypatch.setattr("resnext.training.forecast.time_steps", time_steps)
    taken = forecast_of(Task(data=streamed, recipe=recipe), HERE, World()).duration
    assert taken is not None
    assert len(timed) == 1
    assert taken.step_seconds == taken.first_step_seconds == 10.0
