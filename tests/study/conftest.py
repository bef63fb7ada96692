from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from resnext.data.dataset import ArrayDataset, Data
from resnext.spec.recipe import Recipe
from resnext.study.design import Contrast, Setting, Study
from resnext.study.ledger import EpochErrors, Ledger, Outcome
from resnext.study.runner import Runner

SIZE, NUM_CLASSES = 8, 3


def recipe(model: str = "resnext11_2x2d", **fields: Any) -> Recipe:
    """Return a resolved recipe that trains in a moment."""
    return Recipe(
        name="tiny",
        model=model,
        **{
            "architecture": {"base_channels": 4, "num_classes": NUM_CLASSES},
            "epochs": 2,
            "batch_size": 8,
            "image": {"size": SIZE},
            "augmentation": {"crop": "none", "flip": False},
            "optimiser": {"learning_rate": 0.05},
            **fields,
        },
    )


@pytest.fixture(scope="session")
def data() -> Data:
    """Sixteen training and nine test images, each class its own grey."""

    def split(name: str, number: int) -> ArrayDataset:
        labels = [index % NUM_CLASSES for index in range(number)]
        noise = np.random.default_rng(number).integers(0, 60, (number, SIZE, SIZE), dtype=np.uint8)
        return ArrayDataset(name, noise + np.array([[[60 * label]] for label in labels], dtype=np.uint8), labels)

    return Data(
        source="greys",
        class_names=("dark", "middle", "light"),
        splits={"train": split("train", 16), "test": split("test", 9)},
        selection="test",
        digest="d" * 64,
    )


@pytest.fixture(scope="session")
def study() -> Study:
    """Three settings, two of which are compared."""
    models = {"wide": "resnet11_1x4d", "both": "resnext11_2x2d", "many": "resnext11_4x1d"}
    return Study(
        name="tiny",
        scale="digits",
        title="Tiny",
        question="Does it fall?",
        claim="It falls.",
        data="digits",
        is_proxy=True,
        settings=[Setting(name=name, recipe=recipe(model)) for name, model in models.items()],
        contrasts=[Contrast(name="many against wide", weights={"many": 1.0, "wide": -1.0})],
        order=("wide", "both", "many"),
    )


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    return Ledger(tmp_path / "study")


@pytest.fixture
def runner(data: Data, study: Study, ledger: Ledger) -> Callable[..., Runner]:
    def make(**fields: Any) -> Runner:
        return Runner(**{"study": study, "data": data, "ledger": ledger, "num_seeds": 1, **fields})

    return make


@pytest.fixture(scope="session")
def outcome() -> Callable[..., Outcome]:
    """Return an outcome as if a run had ended so."""

    def make(error: float = 20.0, *, seed: int = 0, model: str = "resnext11_2x2d", **fields: Any) -> Outcome:
        return Outcome(
            **{
                "recipe": recipe(model),
                "seed": seed,
                "form": "grouped",
                "data": "greys",
                "data_digest": "d" * 64,
                "split": "test",
                "num_images": 9,
                "best_epoch": 1,
                "best_top1_error_percent": error - 1,
                "last_top1_error_percent": error,
                "curve": (EpochErrors(train=60, held_out=error - 1), EpochErrors(train=50, held_out=error)),
                "wall_seconds": 10.0,
                "images_per_second": 100.0,
                "device": "cpu",
                "num_cores": 2,
                "precision": "auto",
                "versions": {"torch": "2.14.1"},
                "commit": None,
                "command": "resnext study run tiny",
                "ended": "2026-11-25T12:00:00+00:00",
                **fields,
            }
        )

    return make
