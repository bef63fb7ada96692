"""Weights as a classifier, on an engine."""

from pathlib import Path
from typing import Literal

import torch

from resnext.artefact.weights import open_network
from resnext.inference.choice import choose
from resnext.inference.classifier import BATCH_SIZE, Classifier
from resnext.inference.engine import EngineError, EngineName, Precision
from resnext.inference.engines import Ready
from resnext.inference.exported import open_exported, runtime_of
from resnext.inference.torch_program import is_program, open_program
from resnext.model.device import pick_device


def load(
    weights: str | Path,
    device: str = "auto",
    engine: EngineName | Literal["auto"] | None = None,
    precision: Precision | None = None,
    batch_size: int = BATCH_SIZE,
) -> Classifier:
    """Load a classifier, on a GPU where there is one unless `device` says otherwise.

    `weights` is the path of an artefact, of what `export` made of one, `torchvision:WEIGHTS`, or `hf:REPO` or
    `hf:./FOLDER` of the hub's layout. `engine` and `precision` are those of `accelerate`; `auto` pays where many images
    follow, as it takes some seconds. None is torch in fp32, or the runtime and the precision of a file of ONNX or
    OpenVINO, which has no other.
    `batch_size` is the number of images that are computed at a time, and that an engine is made for.
    Raises `ArtefactError`, a `ValueError`, where they are damaged or do not name their classes, `EngineError`, another,
    where the engine or the precision cannot be had here, `ValueError` on a bad device or batch size, and `OSError`
    where they cannot be fetched.
    """
    if batch_size < 1:
        raise ValueError(f"batch_size = {batch_size}: at least 1 image is needed")
    if (runtime := runtime_of(weights)) is not None:
        if engine not in (None, "auto", runtime):
            raise EngineError(
                f"engine = {engine!r}: {weights} is computed by {runtime}; leave it out or give the artefact"
            )
        place = pick_device(device_for(weights, device))
        own, manifest = open_exported(Path(weights).expanduser(), batch_size)
        if precision not in (None, own.precision):
            raise EngineError(
                f"precision = {precision!r}: {weights} is in {own.precision}; give the artefact for another"
            )
        return Classifier(manifest, own, place, batch_size)
    place = pick_device(device)
    network, manifest = open_program(Path(weights).expanduser()) if is_program(weights) else open_network(str(weights))
    size = manifest.preprocessing.image_size
    shape = (batch_size, manifest.architecture.input_channels, size, size)
    ready = Ready(network.to(place), torch.randn(shape, generator=torch.Generator().manual_seed(0)).to(place))
    if engine == "auto":
        choice, quickest = choose(ready, precision or "fp32")
        return Classifier(manifest, quickest, place, batch_size, choice)
    return Classifier(manifest, ready.engine(engine or "torch", precision or "fp32"), place, batch_size)


def device_for(weights: str | Path, device: str) -> str:
    """Return `device`, or `cpu` for `auto` where a file's runtime computes there alone.

    Raises `EngineError` on another device for such a file.
    """
    runtime = runtime_of(weights)
    if runtime is None or device == "cpu":
        return device
    if device != "auto":
        raise EngineError(f"device = {device!r}: {weights} is computed by {runtime}, on the CPU; use 'auto' or 'cpu'")
    return "cpu"
