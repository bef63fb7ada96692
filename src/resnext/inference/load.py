"""Weights as a classifier, on an engine."""

from pathlib import Path
from typing import Literal

import torch

from resnext.artefact.weights import open_network
from resnext.inference.choice import choose
from resnext.inference.classifier import BATCH_SIZE, Classifier
from resnext.inference.engine import EngineName, Precision
from resnext.inference.engines import Ready
from resnext.model.device import pick_device


def load(
    weights: str | Path,
    device: str = "auto",
    engine: EngineName | Literal["auto"] = "torch",
    precision: Precision = "fp32",
    batch_size: int = BATCH_SIZE,
) -> Classifier:
    """Load a classifier, on a GPU where there is one unless `device` says otherwise.

    `weights` is the path of an artefact, `torchvision:WEIGHTS`, or `hf:REPO` or `hf:./FOLDER` of the hub's layout.
    `engine` and `precision` are those of `accelerate`; `auto` pays where many images follow, as it takes some seconds.
    `batch_size` is the number of images that are computed at a time, and that an engine is made for.
    Raises `ArtefactError`, a `ValueError`, where they are damaged or do not name their classes, `EngineError`, another,
    where the engine or the precision cannot be had here, `ValueError` on a bad device or batch size, and `OSError`
    where they cannot be fetched.
    """
    if batch_size < 1:
        raise ValueError(f"batch_size = {batch_size}: at least 1 image is needed")
    place = pick_device(device)
    network, manifest = open_network(str(weights))
    size = manifest.preprocessing.image_size
    shape = (batch_size, manifest.architecture.input_channels, size, size)
    ready = Ready(network.to(place), torch.randn(shape, generator=torch.Generator().manual_seed(0)).to(place))
    if engine == "auto":
        choice, quickest = choose(ready, precision)
        return Classifier(manifest, quickest, place, batch_size, choice)
    return Classifier(manifest, ready.engine(engine, precision), place, batch_size)
