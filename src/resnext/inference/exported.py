"""Exported files, read back: each on its own runtime, with the manifest that is inside it."""

from pathlib import Path
from typing import Any

import torch

from resnext.artefact.address import MAX_BYTES
from resnext.artefact.manifest import Manifest
from resnext.artefact.store import ArtefactError
from resnext.inference.engine import Engine, EngineError, EngineName, Precision
from resnext.inference.onnxruntime_engine import OnnxRuntimeEngine
from resnext.inference.openvino_engine import OpenVINOEngine, openvino_module
from resnext.spec.value import SpecError

RUNTIMES: dict[str, EngineName] = {".onnx": "onnxruntime", ".xml": "openvino"}
MANIFEST, PRECISION = "resnext.manifest", "resnext.precision"


def runtime_of(weights: str | Path) -> EngineName | None:
    """Return the runtime that a file brings its network for; None for weights, which any engine takes."""
    return RUNTIMES.get(Path(weights).suffix.lower())


def open_exported(path: Path, batch_size: int) -> tuple[Engine, Manifest]:
    """Open a file of ONNX or OpenVINO that `export` wrote, for batches of a size.

    Raises `ArtefactError` where it is missing, damaged or has no manifest, and `EngineError` where its runtime is not
    installed.
    """
    parts = parts_of(path)
    for part in parts:
        if not part.is_file():
            raise ArtefactError(f"no exported network at {path}: {part} does not exist or is not a file")
        if part.stat().st_size > MAX_BYTES:
            raise ArtefactError(f"{part} has {part.stat().st_size:,} bytes; at most {MAX_BYTES:,} are read")
    engine, words = _OPENERS[RUNTIMES[path.suffix.lower()]](path, batch_size)
    if words is None:
        raise ArtefactError(f"{path} holds no manifest: resnext export did not write it; give one that it wrote")
    try:
        manifest = Manifest.from_json(words)
    except SpecError as error:
        raise ArtefactError(f"{path} holds a manifest that this version cannot read: {error}") from None
    _check_answers(path, engine, manifest)
    return engine, manifest


def parts_of(path: Path) -> tuple[Path, ...]:
    """Return the files that an exported network lies in, the one that names it last."""
    return (path.with_suffix(".bin"), path) if path.suffix.lower() == ".xml" else (path,)


def _onnx(path: Path, _: int) -> tuple[Engine, str | None]:
    try:
        engine = OnnxRuntimeEngine(path.read_bytes())
    except EngineError as error:
        raise ArtefactError(f"{path}: {error}") from None
    return engine, engine.words.get(MANIFEST)


def _openvino(path: Path, batch_size: int) -> tuple[Engine, str | None]:
    runtime = openvino_module()
    try:
        model = runtime.Core().read_model(path)
        precision: Precision = "int8" if _told(model, PRECISION) == "int8" else "fp32"
        return OpenVINOEngine(model, batch_size, precision), _told(model, MANIFEST)
    except (RuntimeError, EngineError) as error:
        said = str(error).strip().rpartition("\n")[2]
        raise ArtefactError(f"{path} is not a whole model of OpenVINO ({said})") from None


def _told(model: Any, key: str) -> str | None:
    return str(model.get_rt_info([key]).astype(str)) if model.has_rt_info([key]) else None


def _check_answers(path: Path, engine: Engine, manifest: Manifest) -> None:
    """See that it answers what the manifest says: finite logits, one for each class, of images of its size."""
    network, side = manifest.architecture, manifest.preprocessing.image_size
    try:
        logits = engine(torch.zeros(1, network.input_channels, side, side))
    except EngineError as error:
        raise ArtefactError(f"{path} does not take what its manifest says: {error}") from None
    if logits.shape != (1, network.num_classes) or not logits.isfinite().all():
        raise ArtefactError(f"{path} does not answer one finite logit for each of its {network.num_classes} classes")


_OPENERS: dict[EngineName, Any] = {"onnxruntime": _onnx, "openvino": _openvino}
