from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from resnext.artefact.manifest import Calibration, Manifest, Measurement, Provenance
from resnext.artefact.store import save_artefact
from resnext.model.forms import build
from resnext.model.network import Network
from resnext.spec.architecture import Architecture
from resnext.spec.preprocessing import Preprocessing


@pytest.fixture(scope="session")
def network_of(randomised: Callable[..., None]) -> Callable[[Architecture], Network]:
    """Make a network of an architecture, with statistics of its own."""

    def make(architecture: Architecture) -> Network:
        network = build(architecture, generator=torch.Generator().manual_seed(0))
        randomised(network)
        return network.eval()

    return make


@pytest.fixture(scope="session")
def manifest_for() -> Callable[[Architecture], Manifest]:
    """Make a manifest with all that one may hold."""

    def make(architecture: Architecture) -> Manifest:
        return Manifest(
            architecture=architecture,
            preprocessing=Preprocessing(image_size=32, resize_size=37, interpolation="bilinear", mean=(0.1, 0.2, 0.3)),
            class_names=tuple(f"class {number}" for number in range(architecture.num_classes)),
            measurements=(
                Measurement(split="test", protocol="single crop", num_images=40, top1_error_percent=12.5, loss=0.25),
            ),
            calibration=Calibration(
                temperature=1.5, split="val", num_images=30, ece_before_percent=9.0, ece_after_percent=2.0
            ),
            provenance=Provenance(
                recipe="quick",
                recipe_digest="0" * 64,
                recipe_toml='name = "quick"\n',
                data="flowers/",
                data_digest="1" * 64,
                seed=0,
                epoch=3,
                command="resnext train",
                device="cpu",
                versions={"torch": torch.__version__},
                created="2026-01-01T00:00:00+00:00",
                wall_seconds=1.5,
            ),
        )

    return make


@pytest.fixture(scope="session")
def save_net(
    network_of: Callable[[Architecture], Network], manifest_for: Callable[[Architecture], Manifest]
) -> Callable[[Path, Architecture], Network]:
    """Write an artefact of an architecture, and return its network."""

    def save(path: Path, architecture: Architecture) -> Network:
        network = network_of(architecture)
        save_artefact(path, network, manifest_for(architecture))
        return network

    return save
