"""What an export can be: how each format is written, and how its own runtime computes the file."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.export import ExportedProgram

from resnext.artefact.adapters import Naming
from resnext.artefact.manifest import Manifest
from resnext.artefact.store import save_artefact
from resnext.inference.certificate import Format
from resnext.inference.chosen_forms import recall_forms
from resnext.inference.engine import EngineName
from resnext.inference.engines import Ready
from resnext.inference.exported import MANIFEST, PRECISION, open_exported
from resnext.inference.onnxruntime_engine import check_onnx_is_written, onnx_model, onnxruntime_module
from resnext.inference.openvino_engine import openvino_model, openvino_module
from resnext.inference.peers import timm_network, torchvision_network
from resnext.inference.quantise import Cost, Score, quantise
from resnext.inference.telling import Tell, untold
from resnext.inference.torch_program import SUFFIX, write_program
from resnext.model.network import Network
from resnext.spec.architecture import Architecture

Logits = Callable[[Tensor], Tensor]


@dataclass(frozen=True, slots=True)
class Gate:
    """What int8 needs: batches of normalised images to calibrate on, a score, and how far it may fall.

    They are those of `quantise`, and so is `tell`.
    """

    calibration: Iterable[Tensor]
    score: Score
    max_drop: float
    tell: Tell = untold


@dataclass(frozen=True, slots=True)
class Subject:
    """What is exported: a network in evaluation mode, and what goes with it.

    `opset` is ONNX's, where it is to have one of its own; with a `gate` OpenVINO's model is in int8.
    """

    network: Network
    manifest: Manifest
    opset: int | None = None
    gate: Gate | None = None

    def ready(self) -> Ready:
        """Return the network, folded, with an image of its size for an example."""
        size = self.manifest.preprocessing.image_size
        return Ready(self.network, torch.zeros(1, self.manifest.architecture.input_channels, size, size))


@dataclass(frozen=True, slots=True)
class Writer:
    """A format: how its files are called, which package computes them, how they are written, and how computed.

    `write` puts a subject into a file of a path, and says what int8 costs if it is in that; `run` returns what computes
    logits of that file. Before that, `check_installed` raises `EngineError` where a package is missing, and
    `check_network` where the format has no such network.
    """

    suffix: str
    runtime: str
    write: Callable[[Subject, Path], Cost | None]
    run: Callable[[Subject, Path], Logits]
    check_installed: Callable[[], object] = lambda: None
    check_network: Callable[[Architecture], object] = lambda _: None


def _write_onnx(subject: Subject, path: Path) -> None:
    model = onnx_model(_program(subject, "onnxruntime"), subject.opset)
    for node in model.graph.node:
        del node.metadata_props[:]  # the places in source files that it came from
    model.metadata_props.add(key=MANIFEST, value=subject.manifest.to_json())
    path.write_bytes(model.SerializeToString())


def _write_openvino(subject: Subject, path: Path) -> Cost | None:
    gate, cost = subject.gate, None
    if gate is None:
        model = openvino_model(_program(subject, "openvino"))
    else:
        quantised = quantise(subject.ready(), gate.calibration, gate.score, gate.max_drop, gate.tell)
        model, cost = quantised.model, quantised.cost
    model.set_rt_info(subject.manifest.to_json(), [MANIFEST])
    model.set_rt_info("int8" if cost else "fp32", [PRECISION])
    openvino_module().save_model(model, path, compress_to_fp16=False)
    return cost


def _program(subject: Subject, engine: EngineName) -> ExportedProgram:
    """Return the network as a program, its layers in the forms that were measured to be fastest here for one image."""
    ready = subject.ready()
    return ready.program_in(recall_forms(ready.network, ready.example, engine, "fp32"))


def _check_onnx() -> None:
    check_onnx_is_written()
    onnxruntime_module()


def _run_exported(_: Subject, path: Path) -> Logits:
    return open_exported(path, batch_size=1)[0]


def _write_torch(subject: Subject, path: Path) -> None:
    write_program(path, subject.ready().program, subject.manifest)


def _run_torch(_: Subject, path: Path) -> Logits:
    module: Logits = torch.export.load(path).module()  # of the file that was just written
    return module


def _peer(naming: Naming, runtime: str, build: Callable[[Architecture], nn.Module]) -> Writer:
    """Return the format of a library that has the network itself: weights under its names, loaded strictly."""

    def write(subject: Subject, path: Path) -> None:
        save_artefact(path, subject.network, subject.manifest, naming)

    def run(subject: Subject, path: Path) -> Logits:
        theirs = build(subject.manifest.architecture)
        theirs.load_state_dict(load_file(path), strict=True)
        return theirs

    return Writer(f".{naming}.safetensors", runtime, write, run, check_network=build)


FORMATS: Mapping[Format, Writer] = {
    "onnx": Writer(".onnx", "onnxruntime", _write_onnx, _run_exported, _check_onnx),
    "openvino": Writer(".xml", "openvino", _write_openvino, _run_exported, openvino_module),
    "torch": Writer(SUFFIX, "torch", _write_torch, _run_torch),
    "torchvision": _peer("torchvision", "torchvision", torchvision_network),
    "timm": _peer("timm", "timm", timm_network),
}
