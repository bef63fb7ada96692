import hashlib
import json
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from resnext.artefact.sealed import digest_of
from resnext.artefact.store import load_artefact
from resnext.artefact.weights import Weights
from resnext.data.dataset import ArrayDataset, Data, Dataset
from resnext.data.open import open_data
from resnext.imaging.decode import ImageError
from resnext.model.forms import build
from resnext.spec.recipe import Recipe
from resnext.training.checkpoint import Checkpoints
from resnext.training.conduct import Conduct
from resnext.training.machine import Machine
from resnext.training.run import Run
from resnext.training.task import Task

SIZE = 16
CONDUCT = ("resumes", "interval", "max_unreadable")
TIMES = ("time", "images_per_second", "num_event_bytes")  # the length of the log depends on how many digits times have


@dataclass(frozen=True)
class Damaged:
    """Images of which those at some places cannot be read."""

    images: Dataset
    places: Collection[int]

    @property
    def labels(self) -> Sequence[int]:
        return self.images.labels

    def name(self, index: int) -> str:
        return self.images.name(index)

    def image(self, index: int) -> Image.Image:
        if index in self.places:
            raise ImageError("damaged image: it ends too early")
        return self.images.image(index)


@pytest.fixture(scope="session")
def images() -> Callable[..., ArrayDataset]:
    """Return images of a few classes, each brighter in one of the colours, under noise."""

    def make(name: str, number: int, num_classes: int = 3, size: int = SIZE) -> ArrayDataset:
        rng = np.random.default_rng([number, *name.encode()])
        labels = [index % num_classes for index in range(number)]
        pixels = rng.integers(0, 100, (number, size, size, 3), dtype=np.uint8)
        for image, label in zip(pixels, labels, strict=True):
            image[..., label % 3] += np.uint8(40 + 10 * label)
        return ArrayDataset(name, pixels, labels)

    return make


@pytest.fixture(scope="session")
def data(images: Callable[..., ArrayDataset]) -> Data:
    return Data(
        source="colours",
        class_names=("red", "green", "blue"),
        splits={"train": images("train", 24), "val": images("val", 9), "test": images("test", 9)},
        digest="0" * 64,
    )


@pytest.fixture
def streamed(written: Callable[[Path], dict[str, str]], tmp_path: Path) -> Data:
    """Return images of three colours as a stream, 24 to train on and 9 held out."""
    return open_data(written(tmp_path / "streamed")["tar"])


@pytest.fixture(scope="session")
def recipe() -> Recipe:
    """Return a run of two epochs of three steps on the smallest of networks."""
    return Recipe(
        name="tiny",
        model="resnext11_2x2d",
        architecture={"base_channels": 4, "num_classes": 3},
        epochs=2,
        batch_size=8,
        image={"size": SIZE},
        augmentation={"crop": "shift", "max_shift": 2, "flip": True},
        optimiser={"learning_rate": 0.1},
        schedule={"kind": "cosine", "warmup_epochs": 1},
    )


@pytest.fixture(scope="session")
def damaged() -> Callable[..., Dataset]:
    """Return a data set of which the images at some places cannot be read."""
    return Damaged


@pytest.fixture(scope="session")
def imperfect(data: Data, damaged: Callable[..., Dataset]) -> Data:
    """Return the data with unreadable images in every split, for six steps of training to meet."""
    places = {"train": (2, 7, 19), "val": (1,), "test": (0, 5)}
    return replace(data, splits={name: damaged(split, places[name]) for name, split in data.splits.items()})


@pytest.fixture(scope="session")
def demanding(recipe: Recipe) -> Recipe:
    """Return a recipe that needs all that a checkpoint can hold: groups of batch norm, an average, random changes.

    At its rate the first epoch is the best, and best and last have temperatures of their own.
    """
    colours = {"brightness": 0.4, "contrast": 0.4, "saturation": 0.4, "lighting": 0.1}
    return recipe.replace(
        batch_norm_images=4,
        average_decay=0.9,
        optimiser={"learning_rate": 0.5},
        label_smoothing=0.1,
        augmentation={**recipe.augmentation.model_dump(), "max_rotation_degrees": 10, **colours},
    )


@pytest.fixture(scope="session")
def run_in(data: Data, recipe: Recipe) -> Callable[..., Run]:
    """Make a run in a folder; whatever is not given is the tiny default."""

    def make(folder: Path, *, seed: int = 0, machine: dict[str, Any] | None = None, **given: Any) -> Run:
        task = Task(data=given.get("data", data), recipe=given.get("recipe", recipe), seed=seed)
        place = {"device": "cpu", "num_threads": 0, **(machine or {})}
        conduct = Conduct(out=folder, **{key: given[key] for key in CONDUCT if key in given})
        return Run(task, conduct, Machine(**place))

    return make


@pytest.fixture(scope="session")
def train(run_in: Callable[..., Run], imperfect: Data, demanding: Recipe) -> Callable[..., Run]:
    """Make a run that needs all that a checkpoint holds, and goes on where there is something to go on with."""

    def make(folder: Path, **given: Any) -> Run:
        return run_in(folder, **{"data": imperfect, "recipe": demanding, "resumes": True, **given})

    return make


@pytest.fixture(scope="session")
def undisturbed(train: Callable[..., Run], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a demanding run that was never stopped; it is only read."""
    folder = tmp_path_factory.mktemp("undisturbed") / "run"
    run = train(folder)
    list(run)
    run.finish()
    return folder


@pytest.fixture
def start(tmp_path: Path, run_in: Callable[..., Run]) -> Callable[..., Run]:
    """Make a run in a folder of this test by name."""
    return lambda name="run", **given: run_in(tmp_path / name, **given)


@pytest.fixture(scope="session")
def kept() -> Callable[[Path], dict[str, Any]]:
    """Return what a run left in its folder, but for times: tensors by their digest, words as they are."""
    return _kept


@pytest.fixture(scope="session")
def events() -> Callable[[Path], list[dict[str, Any]]]:
    """Return the events of a run folder."""
    return lambda folder: _lines(folder / "events.jsonl")


def _kept(folder: Path) -> dict[str, Any]:
    held = Checkpoints(folder / "checkpoints").read()
    assert held is not None
    found: dict[str, Any] = {"events": _timeless(_lines(folder / "events.jsonl"))}
    found["progress"] = _timeless(held.progress.model_dump())
    found |= {f"checkpoint {name}": _digest(tensor) for name, tensor in held.tensors.items()}
    for name in ("best", "last"):
        network, manifest = load_artefact(folder / f"{name}.safetensors")
        found |= {f"{name} {key}": _digest(tensor) for key, tensor in network.state_dict().items()}
        found[f"{name} measurements"] = manifest.measurements
        found[f"{name} epoch"] = manifest.provenance and manifest.provenance.epoch
        found[f"{name} calibration"] = manifest.calibration
    return found


def _lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def _timeless(value: Any) -> Any:
    if isinstance(value, list):
        return [_timeless(item) for item in value]
    if not isinstance(value, dict):
        return value
    return {key: _timeless(item) for key, item in value.items() if key not in TIMES and not key.endswith("_seconds")}


def _digest(tensor: Tensor) -> str:
    words = f"{tensor.dtype} {tuple(tensor.shape)} "
    return words + hashlib.sha256(tensor.contiguous().numpy().tobytes()).hexdigest()[:16]


@pytest.fixture(scope="module")
def weights(recipe: Recipe, randomised: Callable[..., None]) -> Weights:
    """Return weights of the tiny network, for five classes, with statistics of their own."""
    network = build(recipe.network().replace(num_classes=5), generator=torch.Generator().manual_seed(7))
    randomised(network)
    tensors = dict(network.state_dict())
    return Weights(
        origin="others.pt", architecture=network.architecture, tensors=tensors, digest=digest_of("", tensors)
    )
