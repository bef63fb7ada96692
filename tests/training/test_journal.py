import math
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from resnext.data.dataset import ArrayDataset, Data, Dataset
from resnext.data.loader import UnreadableError
from resnext.spec.recipe import Recipe
from resnext.training.checkpoint import CheckpointError
from resnext.training.conduct import Conduct
from resnext.training.learner import NonFiniteLossError
from resnext.training.machine import Machine
from resnext.training.run import Run
from resnext.training.task import Task
from resnext.training.world import World

Kept = Callable[[Path], dict[str, Any]]
Events = Callable[[Path], list[dict[str, Any]]]
Damage = Callable[..., Dataset]
Train = Callable[..., Run]


def train_until(run: Run, number: int) -> None:
    """Train until so many reports have come."""
    for count, _ in enumerate(run, start=1):
        if count == number:
            break


def with_unreadable(data: Data, damaged: Damage, number: int) -> Data:
    return replace(data, splits={**data.splits, "train": damaged(data.splits["train"], range(number))})


@pytest.mark.parametrize("number", [10, 11])
def test_ten_unreadable_images_are_borne_in_any_case_and_no_more(
    tmp_path: Path, train: Train, data: Data, damaged: Damage, number: int
) -> None:
    run = train(tmp_path / "run", data=with_unreadable(data, damaged, number))
    if number == 10:
        list(run)
        assert run.journal.memory.num_unreadable == 10
        return
    with pytest.raises(OSError, match=r"^11 images could not be read, more than the 10 that") as caught:
        list(run)
    message = str(caught.value)
    assert "the last: train[" in message
    assert "--resume" in message and "--max-unreadable" in message
    assert message.isprintable()
    assert run.state.epoch == 1


@pytest.mark.parametrize("number", [12, 13])
def test_one_unreadable_image_in_a_hundred_is_borne(
    tmp_path: Path,
    train: Train,
    data: Data,
    damaged: Damage,
    recipe: Recipe,
    number: int,
    images: Callable[..., ArrayDataset],
) -> None:
    many = replace(data, splits={**data.splits, "train": images("train", 1200, size=4)})
    small = recipe.replace(
        epochs=1, batch_size=600, image={"size": 4}, schedule={}, augmentation={"crop": "none", "flip": False}
    )
    run = train(tmp_path / "run", data=with_unreadable(many, damaged, number), recipe=small)
    if number == 12:
        list(run)
        assert run.journal.memory.num_unreadable == 12
    else:
        with pytest.raises(OSError, match=r"^13 images .* the 12 that"):
            list(run)


@pytest.mark.parametrize("borne", [0, 2])
def test_a_run_stopped_by_unreadable_images_goes_on_where_more_are_borne(
    tmp_path: Path, train: Train, undisturbed: Path, kept: Kept, borne: int
) -> None:
    run = train(tmp_path / "run", max_unreadable=borne)
    with pytest.raises(OSError, match=f"{borne + 1} images .* more than the {borne} that"):
        list(run)
    held = run.folder.checkpoints.read()
    assert held is not None
    assert held.progress.position.step == run.state.step > 0
    run.finish()
    resumed = train(tmp_path / "run", max_unreadable=6)
    assert resumed.first_step == run.state.step
    list(resumed)
    resumed.finish()
    assert kept(tmp_path / "run") == kept(undisturbed)


def test_an_unreadable_image_counts_once_however_often_it_is_met(
    tmp_path: Path, train: Train, events: Events, demanding: Recipe
) -> None:
    for number in (5, 100):
        run = train(tmp_path / "run", max_unreadable=6, recipe=demanding.replace(epochs=4))
        train_until(run, number)
        run.finish()
    assert run.journal.memory.num_unreadable == 6
    noted = [event["message"] for event in events(tmp_path / "run") if event["event"] == "problem"]
    assert tuple(noted) == run.problems
    assert sorted(message.partition(":")[0] for message in noted) == [
        "test[0]",
        "test[5]",
        "train[19]",
        "train[2]",
        "train[7]",
        "val[1]",
    ]


def test_a_run_whose_data_is_gone_keeps_a_checkpoint_and_goes_on_when_it_is_back(
    tmp_path: Path, train: Train, data: Data, damaged: Damage, kept: Kept, images: Callable[..., ArrayDataset]
) -> None:
    gone: set[int] = set()
    many = replace(data, splits={**data.splits, "train": damaged(images("train", 100), gone)})
    straight = train(tmp_path / "straight", data=many)
    list(straight)
    straight.finish()
    run = train(tmp_path / "run", data=many)
    with pytest.raises(UnreadableError, match=r"32 training images in a row .* data is still where it was"):
        for report in run:
            if report.step == 2:
                gone |= set(range(100))
    held = run.folder.checkpoints.read()
    assert held is not None
    assert held.progress.position.step == 2
    run.finish()
    gone.clear()
    resumed = train(tmp_path / "run", data=many)
    list(resumed)
    resumed.finish()
    assert kept(tmp_path / "run") == kept(tmp_path / "straight")


@pytest.mark.parametrize("value", [math.inf, math.nan])
def test_a_loss_that_is_not_finite_names_all_images_of_its_batch(
    tmp_path: Path, train: Train, data: Data, events: Events, value: float
) -> None:
    run = train(tmp_path / "run", data=data)
    batches = run.course().batches(1, 1)
    expected = next(batches).names
    with pytest.raises(NonFiniteLossError, match=r"at step 2\b") as caught:
        for _ in run:
            run.state.network.head.bias.data.fill_(value)
    assert caught.value.names == expected
    assert len(set(expected)) == 8
    last = events(tmp_path / "run")[-1]
    assert (last["event"], last["step"], tuple(last["images"])) == ("non_finite_loss", 2, expected)


def test_weights_spoilt_in_memory_never_reach_a_checkpoint(
    tmp_path: Path, train: Train, undisturbed: Path, kept: Kept
) -> None:
    run = train(tmp_path / "run")
    with pytest.raises(NonFiniteLossError):
        for number, _ in enumerate(run, start=1):
            if number == 6:
                run.state.network.head.bias.data.fill_(math.nan)
    run.finish()
    resumed = train(tmp_path / "run")
    assert resumed.first_step == 3
    list(resumed)
    resumed.finish()
    assert kept(tmp_path / "run") == kept(undisturbed)


@pytest.fixture
def stopped(tmp_path: Path, train: Train) -> Iterator[Path]:
    run = train(tmp_path / "stopped", seed=3)
    train_until(run, 2)
    run.finish()
    yield tmp_path / "stopped"


@pytest.mark.parametrize("what", ["recipe_digest", "data_digest", "seed"])
def test_another_run_than_the_one_in_the_folder_is_refused_and_the_folder_left_as_it_is(
    stopped: Path, train: Train, imperfect: Data, demanding: Recipe, what: str
) -> None:
    before = {path.name: path.read_bytes() for path in stopped.rglob("*") if path.is_file()}
    changes: dict[str, dict[str, Any]] = {
        "recipe_digest": {"recipe": demanding.replace(epochs=5), "seed": 3},
        "data_digest": {"data": replace(imperfect, digest="f" * 64), "seed": 3},
        "seed": {"seed": 4},
    }
    with pytest.raises(CheckpointError, match=f"holds another run: {what} = ") as caught:
        train(stopped, **changes[what])
    message = str(caught.value)
    assert f"--recipe {stopped}/recipe.toml --seed 3; it" in message
    assert "it was started as: " in message
    assert message.isprintable()
    assert sum(f"{name} = " in message for name in changes) == 1
    assert {path.name: path.read_bytes() for path in stopped.rglob("*") if path.is_file()} == before


def test_a_folder_whose_run_was_refused_can_be_used_at_once(stopped: Path, train: Train) -> None:
    with pytest.raises(CheckpointError) as caught:
        train(stopped, seed=4)
    assert train(stopped, seed=3).first_step == 2, caught  # what was raised is still held, as in a notebook


def test_names_may_differ_where_what_is_learnt_does_not(stopped: Path, train: Train, demanding: Recipe) -> None:
    assert train(stopped, recipe=demanding.replace(name="renamed"), seed=3).first_step == 2


def test_to_resume_in_a_new_folder_is_to_start(tmp_path: Path, train: Train) -> None:
    (tmp_path / "empty").mkdir()
    for name in ("new", "empty"):
        assert train(tmp_path / name).first_step == 0
        assert (tmp_path / name / "recipe.toml").is_file()


def test_a_folder_of_something_else_is_not_resumed(tmp_path: Path, train: Train) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(ValueError, match="nothing to resume"):
        train(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


def test_a_run_that_is_not_resumed_never_takes_over_a_folder(stopped: Path, train: Train) -> None:
    with pytest.raises(ValueError, match="already holds files"):
        train(stopped, resumes=False, seed=3)


def test_two_runs_at_once_in_one_folder_are_refused(tmp_path: Path, train: Train) -> None:
    first = train(tmp_path / "run")
    with pytest.raises(ValueError, match="is being written by another process") as caught:
        train(tmp_path / "run")
    assert str(caught.value).isprintable()
    train_until(first, 4)
    with pytest.raises(ValueError, match="is being written by another process"):
        train(tmp_path / "run")
    first.finish()
    assert train(tmp_path / "run").first_step == 3


def test_to_resume_needs_a_folder() -> None:
    with pytest.raises(ValueError, match="--resume needs --out"):
        Conduct(resumes=True)


def test_a_run_whose_checkpoints_are_gone_is_not_begun_anew_over_its_weights(stopped: Path, train: Train) -> None:
    shutil.rmtree(stopped / "checkpoints")
    before = {path.name: path.read_bytes() for path in stopped.iterdir() if path.is_file()}
    with pytest.raises(CheckpointError, match="holds trained weights but no checkpoint to go on from"):
        train(stopped, seed=3)
    with pytest.raises(CheckpointError, match="seed = 4, there 3"):
        train(stopped, seed=4)
    assert {path.name: path.read_bytes() for path in stopped.iterdir() if path.is_file()} == before


def test_images_held_out_count_among_the_unreadable(tmp_path: Path, train: Train, data: Data, damaged: Damage) -> None:
    splits = {**data.splits, "val": damaged(data.splits["val"], range(5))}
    run = train(tmp_path / "run", data=replace(data, splits=splits), max_unreadable=4)
    with pytest.raises(OSError, match=r"^5 images could not be read, more than the 4"):
        list(run)
    held = run.folder.checkpoints.read()
    assert held is not None
    assert held.progress.position.step == run.state.step == 3
    assert not held.progress.position.is_epoch_done


def test_a_held_out_split_that_is_gone_stops_the_run_with_a_checkpoint(
    tmp_path: Path, train: Train, data: Data, damaged: Damage
) -> None:
    splits = {**data.splits, "val": damaged(data.splits["val"], range(9))}
    run = train(tmp_path / "run", data=replace(data, splits=splits))
    with pytest.raises(UnreadableError, match="none of 9 images to score can be read, the first: val"):
        list(run)
    assert run.folder.checkpoints.newest() is not None


def test_a_restart_goes_on_with_what_its_own_launch_wrote_and_with_nothing_else(
    tmp_path: Path, data: Data, recipe: Recipe
) -> None:
    task, conduct, machine = Task(data=data, recipe=recipe), Conduct(out=tmp_path / "run"), Machine(device="cpu")
    begun = Run(task, conduct, machine, World(launch="monday"))
    train_until(begun, 2)
    begun.finish()
    with pytest.raises(ValueError, match="already holds files"):
        Run(task, conduct, machine, World(num_restarts=1, launch="tuesday"))
    assert Run(task, conduct, machine, World(num_restarts=1, launch="monday")).first_step == 2


@pytest.mark.parametrize("source", ["flowers.csv?label=kind&root=/photos", "wds:a/flowers.csv?val=b/val.tar"])
def test_a_run_without_a_folder_is_named_after_its_data_without_the_options(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, data: Data, source: str
) -> None:
    monkeypatch.chdir(tmp_path)
    assert Conduct().folder(replace(data, source=source), World()) == Path("runs/flowers.csv")
