from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from resnext.data.dataset import ArrayDataset, Data
from resnext.spec.recipe import Recipe
from resnext.training.journal import Conduct
from resnext.training.machine import Machine
from resnext.training.run import Run
from resnext.training.task import Task

SIZE = 16
CONDUCT = ("resumes", "interval", "max_unreadable")


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


@pytest.fixture
def start(tmp_path: Path, data: Data, recipe: Recipe) -> Callable[..., Run]:
    """Make a run in a new folder; whatever is not given is the tiny default."""

    def make(name: str = "run", *, seed: int = 0, machine: dict[str, Any] | None = None, **given: Any) -> Run:
        task = Task(data=given.get("data", data), recipe=given.get("recipe", recipe), seed=seed)
        place = {"device": "cpu", "num_threads": 0, **(machine or {})}
        conduct = Conduct(out=tmp_path / name, **{key: given[key] for key in CONDUCT if key in given})
        return Run(task, conduct, Machine(**place))

    return make
