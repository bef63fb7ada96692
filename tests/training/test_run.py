import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

import resnext
from resnext.artefact.store import load_artefact
from resnext.data.dataset import ArrayDataset, Data, DataError, Dataset
from resnext.data.loader import Loading, evaluation_batches
from resnext.evaluation.evaluate import evaluate
from resnext.evaluation.metrics import Scores
from resnext.imaging.transform import normalise
from resnext.spec.recipe import Recipe
from resnext.training.conduct import Conduct
from resnext.training.folder import RunFolder, free_path
from resnext.training.loop import EpochReport, StepReport
from resnext.training.run import Run
from resnext.training.task import Task
from resnext.training.world import World

Start = Callable[..., Run]


def events(folder: Path) -> list[dict[str, Any]]:
    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is not JSON")

    lines = (folder / "events.jsonl").read_text().splitlines()
    return [json.loads(line, parse_constant=refuse) for line in lines]


def stored(path: Path) -> dict[str, Tensor]:
    return load_artefact(path)[0].state_dict()


def all_equal(these: dict[str, Tensor], those: dict[str, Tensor]) -> bool:
    assert these.keys() == those.keys()
    return all(torch.equal(these[name], those[name]) for name in these)


def scores(error: float, loss: float) -> Scores:
    return Scores(num_images=9, top1_error_percent=error, top5_error_percent=None, loss=loss, classes=(), confusion=())


@dataclass(frozen=True)
class Watched:
    """Images that remember which of them were asked for."""

    images: Dataset
    seen: list[int]

    @property
    def labels(self) -> Sequence[int]:
        return self.images.labels

    def name(self, index: int) -> str:
        return self.images.name(index)

    def image(self, index: int) -> Image.Image:
        self.seen.append(index)
        return self.images.image(index)


@pytest.fixture
def scripted(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Iterator[Scores]]:
    """Have a run score what is said here, one after another."""

    def script(*pairs: tuple[float, float]) -> Iterator[Scores]:
        remaining = iter([scores(*pair) for pair in pairs])
        monkeypatch.setattr("resnext.training.scorer.score", lambda *_: (next(remaining), ()))
        return remaining

    return script


def test_a_run_leaves_recipe_events_and_artefacts_and_nothing_else(start: Start) -> None:
    run = start()
    list(run)
    run.finish()
    files = sorted(path.name for path in run.folder.path.iterdir())
    assert files == [
        ".lock",
        "attempts.jsonl",
        "best.safetensors",
        "checkpoints",
        "events.jsonl",
        "last.safetensors",
        "recipe.toml",
        "report.html",
        "tensorboard",
    ]


def test_the_recipe_of_a_run_reads_back_to_the_digest_it_names(start: Start, recipe: Recipe) -> None:
    run = start()
    next(iter(run))
    text = (run.folder.path / "recipe.toml").read_text()
    assert Recipe.from_toml(text) == recipe
    assert Recipe.from_toml(text).digest() == recipe.digest() == events(run.folder.path)[0]["recipe_digest"]
    assert recipe.digest() in text.splitlines()[0]


def test_every_line_of_the_events_is_json_from_start_to_end(start: Start, data: Data) -> None:
    run = start(seed=5)
    list(run)
    result = run.finish()
    first, *ends, last = events(run.folder.path)
    assert [first["event"], *(end["event"] for end in ends), last["event"]] == ["start", "epoch", "epoch", "end"]
    assert (first["seed"], first["data_digest"]) == (5, data.digest)
    assert first["num_images"] == {"train": 24, "val": 9, "test": 9}
    assert [(end["epoch"], end["step"]) for end in ends] == [(1, 3), (2, 6)]
    assert result.test is not None
    assert (last["is_whole"], last["num_epochs"], last["test"]) == (True, 2, result.test.model_dump())


@pytest.mark.parametrize(
    ("pairs", "best"),
    [
        ([(50, 1.0), (20, 2.0), (30, 0.1)], 2),
        ([(50, 1.0), (50, 0.5), (50, 0.7)], 2),
        ([(50, 1.0), (50, 1.0), (50, 1.0)], 1),
        ([(50, 1.0), (40, 1.0), (30, 1.0)], 3),
    ],
)
def test_the_best_epoch_has_the_lowest_error_then_loss_and_is_the_first_of_equals(
    start: Start, recipe: Recipe, scripted: Any, pairs: list[tuple[float, float]], best: int
) -> None:
    scripted(*pairs, (77, 7.0))
    run = start(recipe=recipe.replace(epochs=3))
    weights = {}
    for report in run:
        if isinstance(report, EpochReport):
            weights[report.epoch] = {name: t.clone() for name, t in run.state.network.state_dict().items()}
    result = run.finish()
    assert (result.best_epoch, result.num_epochs) == (best, 3)
    assert all_equal(stored(run.folder.artefact("best")), weights[best])
    assert all_equal(stored(run.folder.artefact("last")), weights[3])
    assert result.artefact == run.folder.artefact("best")
    kept = [event["epoch"] for event in events(run.folder.path) if event.get("is_best")]
    assert kept[-1] == best


def test_the_test_split_is_scored_once_after_the_last_epoch(start: Start, data: Data) -> None:
    seen: list[int] = []
    watched = Watched(data.indexed("test"), seen)
    run = start(data=replace(data, splits={**data.splits, "test": watched}))
    list(run)
    assert seen == []
    run.finish()
    scored, shown = seen[:9], seen[9:]
    assert scored == list(range(9))
    assert len(shown) == len(set(shown))  # pictures of mistakes


def test_the_test_score_is_that_of_the_best_weights_and_travels_with_them(
    start: Start, data: Data, recipe: Recipe
) -> None:
    run = start(recipe=recipe.replace(epochs=4))
    for report in run:
        if isinstance(report, EpochReport) and report.epoch == 3:
            # The last epoch must not be the best: it starts from a network that says one thing to everything.
            run.state.network.head.weight.data.zero_()
            run.state.network.head.bias.data.copy_(torch.tensor([50.0, 0.0, 0.0]))
    result = run.finish()
    assert result.best_epoch is not None
    assert result.best_epoch < 4
    network, manifest = load_artefact(result.artefact)
    preprocessing = manifest.preprocessing
    batches = evaluation_batches(data.splits["test"], preprocessing, Loading(batch_size=8))
    expected = evaluate(lambda pixels: network(normalise(pixels, preprocessing)), batches, data.class_names)
    assert result.test is not None
    assert result.test.top1_error_percent == expected.top1_error_percent
    assert result.test.loss == pytest.approx(expected.loss, rel=1e-6)
    assert manifest.measurements == (result.best, result.test)
    assert [measured.split for measured in load_artefact(run.folder.artefact("last"))[1].measurements] == ["val"]


def test_where_the_recipe_takes_the_last_epoch_no_lower_error_before_it_counts(
    start: Start, recipe: Recipe, scripted: Any
) -> None:
    scripted((1.0, 0.1), (2.0, 0.2))
    run = start(recipe=recipe.replace(selection="last"))
    list(run)
    assert run.finish().best_epoch == 2


def test_data_that_selects_on_its_test_set_has_no_other_test_score(start: Start, data: Data, scripted: Any) -> None:
    remaining = scripted((50, 1.0), (40, 1.0), (1, 0.1))
    splits = {name: data.splits[name] for name in ("train", "test")}
    run = start(data=replace(data, splits=splits, selection="test"))
    list(run)
    result = run.finish()
    assert result.test is None
    assert result.best is not None
    assert result.best.split == "test"
    assert next(remaining).top1_error_percent == 1
    assert [m.split for m in load_artefact(result.artefact)[1].measurements] == ["test"]


def test_an_artefact_knows_its_run(start: Start, data: Data, recipe: Recipe) -> None:
    run = start(seed=3)
    list(run)
    manifest = load_artefact(run.finish().artefact)[1]
    assert manifest.class_names == data.class_names
    assert manifest.architecture == recipe.network()
    assert manifest.preprocessing == recipe.preprocessing()
    made = manifest.provenance
    assert made is not None
    assert (made.seed, made.data, made.data_digest) == (3, "colours", data.digest)
    assert Recipe.from_toml(made.recipe_toml).digest() == made.recipe_digest == recipe.digest()
    assert made.versions["torch"] == torch.__version__


def test_an_image_that_turns_out_bad_is_named_once_and_training_goes_on(
    start: Start, data: Data, damaged: Callable[..., Dataset]
) -> None:
    splits = {name: damaged(split, [4]) for name, split in data.splits.items() if name != "test"}
    run = start(data=replace(data, splits=splits))
    reports = list(run)
    run.finish()
    left_out = [line for report in reports if isinstance(report, StepReport) for line in report.left_out]
    assert left_out == 2 * ["train[4]: left out, damaged image: it ends too early"]
    assert run.problems == (left_out[0], left_out[0].replace("train", "val"))
    noted = [event["message"] for event in events(run.folder.path) if event["event"] == "problem"]
    assert tuple(noted) == run.problems
    ends = [report for report in reports if isinstance(report, EpochReport)]
    assert [end.scores.num_images for end in ends] == [8, 8]


def test_a_folder_that_holds_files_is_refused_and_left_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(ValueError, match="already holds files"):
        RunFolder(tmp_path).claim(resumes=False)
    with pytest.raises(ValueError, match="cannot be used"):
        RunFolder(tmp_path / "notes.txt").claim(resumes=False)
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


def test_a_new_folder_never_takes_the_place_of_another(
    tmp_path: Path, data: Data, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for expected in ("colours", "colours-2", "colours-3"):
        assert Conduct().folder(data, World()) == Path("runs", expected)
        Conduct().folder(data, World()).mkdir(parents=True)
    assert free_path(tmp_path, "fresh") == tmp_path / "fresh"


def test_one_image_is_too_few_to_train_on(data: Data, recipe: Recipe) -> None:
    one = ArrayDataset("train", np.zeros((1, 16, 16, 3), dtype=np.uint8), [0])
    with pytest.raises(DataError, match="at least 2"):
        Task(data=replace(data, splits={**data.splits, "train": one}), recipe=recipe)
    with pytest.raises(DataError, match="hold some out"):
        Task(data=replace(data, splits={"train": data.splits["train"]}), recipe=recipe)


def test_a_negative_seed_is_refused(data: Data, recipe: Recipe) -> None:
    with pytest.raises(ValueError, match="seed = -1: a whole number from 0 on"):
        Task(data=data, recipe=recipe, seed=-1)


def test_a_recipe_that_still_has_something_to_choose_is_refused(data: Data, recipe: Recipe) -> None:
    with pytest.raises(ValueError, match="auto"):
        Task(data=data, recipe=recipe.replace(optimiser=recipe.optimiser.replace(learning_rate="auto")))


def test_train_goes_from_a_folder_and_a_recipe_file_to_a_classifier(
    tmp_path: Path, images: Callable[..., ArrayDataset], recipe: Recipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    pictures = images("photos", 30)
    for index, label in enumerate(pictures.labels):
        path = tmp_path / "photos" / ("red", "green", "blue")[label] / f"{index}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        pictures.image(index).save(path)
    Path("tiny.toml").write_text(recipe.to_toml())
    result = resnext.train("photos", recipe="tiny.toml", machine=resnext.Machine(device="cpu", num_threads=1))
    assert result.artefact == Path("runs/photos/best.safetensors")
    assert result.test is not None
    classifier = resnext.load(result.artefact, device="cpu")
    assert classifier.class_names == ("blue", "green", "red")
    answers = classifier.predict(sorted(Path("photos").rglob("*.png")), top=1)
    assert [len(answer.labels) for answer in answers] == [1] * 30
