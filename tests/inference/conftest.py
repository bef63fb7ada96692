from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from resnext.artefact.manifest import Manifest, Provenance
from resnext.artefact.store import save_artefact
from resnext.artefact.weights import open_network
from resnext.inference.classifier import Classifier
from resnext.inference.load import load
from resnext.model.forms import build
from resnext.model.network import Network
from resnext.spec.architecture import architecture
from resnext.spec.preprocessing import Preprocessing

SIZE = 16
CLASSES = ("apple", "banana", "cherry")


@pytest.fixture(scope="session")
def artefact(tmp_path_factory: pytest.TempPathFactory, randomised: Callable[..., None]) -> Path:
    """Save an artefact of a network that was not trained but tells images apart."""
    network = build(architecture("resnext11_2x2d", base_channels=4, num_classes=3), generator=torch.manual_seed(0))
    randomised(network)
    with torch.no_grad():
        network.head.weight.mul_(10)
    provenance = Provenance(
        recipe="none",
        recipe_digest="",
        recipe_toml="",
        data="none",
        data_digest="",
        seed=0,
        epoch=0,
        command="",
        device="cpu",
        versions={},
        created="2026-01-01T00:00:00+00:00",
        wall_seconds=0.0,
    )
    manifest = Manifest(
        architecture=network.architecture,
        preprocessing=Preprocessing(image_size=SIZE, resize_size=20),
        class_names=CLASSES,
        provenance=provenance,
    )
    path = tmp_path_factory.mktemp("artefact") / "model.safetensors"
    save_artefact(path, network, manifest)
    return path


@pytest.fixture(scope="session")
def classifier(artefact: Path) -> Classifier:
    return load(artefact, device="cpu")


@pytest.fixture(scope="session")
def network(artefact: Path) -> Network:
    return open_network(str(artefact))[0]


@pytest.fixture(scope="session")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Write images of many sizes, more than make one batch."""
    folder = tmp_path_factory.mktemp("pictures")
    rng = np.random.default_rng(0)
    paths = [folder / f"{index:02}.png" for index in range(40)]
    for index, path in enumerate(paths):
        height, width = 17 + index % 7, 16 + index % 11
        Image.fromarray(rng.integers(0, 256, (height, width, 3), dtype=np.uint8)).save(path)
    return paths
