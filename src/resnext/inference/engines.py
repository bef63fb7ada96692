"""Every engine by its name, and a module on any of them."""

from collections.abc import Callable, Mapping
from functools import cached_property
from importlib.util import find_spec
from typing import get_args

import torch
from torch import Tensor, nn
from torch.export import ExportedProgram

from resnext.inference.chosen_forms import recall_forms
from resnext.inference.engine import Engine, EngineError, EngineName, FloatPrecision, Precision, check_precision
from resnext.inference.fuse import fuse
from resnext.inference.layer_forms import Variant, apply_forms
from resnext.inference.onnxruntime_engine import OnnxRuntimeEngine, onnx_model
from resnext.inference.openvino_engine import OpenVINOEngine, openvino_model
from resnext.inference.program import program_of
from resnext.inference.torch_engine import CompiledEngine, TorchEngine

ENGINES = get_args(EngineName)
_NUM_AXES = 4
_PACKAGES: Mapping[EngineName, tuple[str, ...]] = {
    "onnxruntime": ("onnxscript", "onnxruntime"),
    "openvino": ("openvino",),
}


class Ready:
    """A module made ready for engines: folded, and as a program once one asks for it.

    `example` is a batch of its input, which says the size and the number of images that engines are made for.
    Raises `EngineError` where it is no batch of images.
    """

    def __init__(self, network: nn.Module, example: Tensor) -> None:
        if example.ndim != _NUM_AXES or len(example) == 0:
            raise EngineError(
                f"example of shape {tuple(example.shape)}: a batch of images (batch, channels, height, width) is needed"
            )
        self.network = fuse(network, example[:1])  # one image shows what reads what; a batch would take seconds
        self.example = example

    @cached_property
    def program(self) -> ExportedProgram:
        """The module as a program. Raises `ValueError` where it cannot be followed."""
        return program_of(self.network, self.example)

    def engine(
        self, name: EngineName, precision: Precision = "fp32", forms: Mapping[str, Variant] | None = None
    ) -> Engine:
        """Return an engine, whose grouped convolutions take these forms, or those that were measured here if None.

        Raises `EngineError` where it cannot be had here, with what can.
        """
        if name not in ENGINES:
            raise EngineError(f"engine = {name!r}: allowed are auto, {', '.join(ENGINES)}")
        checked = check_precision(precision, self.example.device)
        check_device(name, self.example.device)
        if forms is None:
            forms = recall_forms(self.network, self.example, name, checked)
        made: Engine = _MAKERS[name](self, checked, forms)
        return made

    def program_in(self, forms: Mapping[str, Variant]) -> ExportedProgram:
        """The module as a program whose convolutions take these forms. Raises `ValueError` as `program` does."""
        return program_of(apply_forms(self.network, forms), self.example) if forms else self.program


def check_device(name: EngineName, device: torch.device) -> None:
    """Raise `EngineError` where an engine does not compute on a device."""
    if name in _PACKAGES and device.type != "cpu":
        raise EngineError(f"engine = {name!r}: it computes on the CPU; use 'torch' or 'compiled' on a GPU")


def installed(device: torch.device) -> tuple[EngineName, ...]:
    """Return the engines that can be had on a device without a minute's compilation, the nearest first."""
    others = tuple(name for name, needs in _PACKAGES.items() if all(map(find_spec, needs)))
    return ("torch", *(others if device.type == "cpu" else ()))


def _torch(ready: Ready, precision: FloatPrecision, forms: Mapping[str, Variant]) -> Engine:
    return TorchEngine(ready.network, precision, forms)


def _compiled(ready: Ready, precision: FloatPrecision, _: Mapping[str, Variant]) -> Engine:
    return CompiledEngine(ready.network, len(ready.example), precision)  # the compiler lays out what it likes


def _onnxruntime(ready: Ready, precision: FloatPrecision, forms: Mapping[str, Variant]) -> Engine:
    return OnnxRuntimeEngine(onnx_model(ready.program_in(forms)).SerializeToString(), precision)


def _openvino(ready: Ready, precision: FloatPrecision, forms: Mapping[str, Variant]) -> Engine:
    return OpenVINOEngine(openvino_model(ready.program_in(forms)), len(ready.example), precision)


_MAKERS: Mapping[EngineName, Callable[[Ready, FloatPrecision, Mapping[str, Variant]], Engine]] = {
    "torch": _torch,
    "compiled": _compiled,
    "onnxruntime": _onnxruntime,
    "openvino": _openvino,
}
