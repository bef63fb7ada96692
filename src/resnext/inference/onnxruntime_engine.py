"""The engine of ONNX Runtime, and the network as ONNX."""

import warnings
from typing import Any

import torch
from torch import Tensor
from torch.export import ExportedProgram

from resnext.inference.engine import EngineError, EngineName, FloatPrecision, precisions_of

_INSTALL = "pip install 'resnext[onnx]'"
_FATAL = 4
OPSETS = range(18, 26)


class OnnxRuntimeEngine:
    """An ONNX model in a session of ONNX Runtime on the CPU, with as many threads as torch has."""

    name: EngineName = "onnxruntime"

    def __init__(self, model: bytes, precision: FloatPrecision = "fp32") -> None:
        runtime = onnxruntime_module()
        if precision not in precisions_of(self.name):
            raise EngineError(f"precision = {precision!r}: ONNX Runtime computes in fp32 on a CPU; use engine 'torch'")
        self.precision: FloatPrecision = precision
        options = runtime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        options.log_severity_level = _FATAL  # what fails is raised too
        try:
            self._session = runtime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # its own types of error share no base
            raise EngineError(f"ONNX Runtime cannot open the model ({_said(error)})") from None
        inputs = self._session.get_inputs()
        if len(inputs) != 1:
            raise EngineError(f"the model takes {len(inputs)} inputs; one, a batch of images, is needed")
        self._input = inputs[0]

    @property
    def words(self) -> dict[str, str]:
        """What the model says of itself, beside what it computes."""
        return dict(self._session.get_modelmeta().custom_metadata_map)

    def __call__(self, pixels: Tensor) -> Tensor:
        """Return logits (batch, classes) of normalised images."""
        try:
            [logits] = self._session.run(None, {self._input.name: pixels.contiguous().numpy()})
            return torch.from_numpy(logits)
        except Exception as error:  # its own types of error share no base
            taken = ", ".join(str(size) if isinstance(size, int) else "any" for size in self._input.shape)
            raise EngineError(
                f"images of shape {tuple(pixels.shape)}: this model takes ({taken}) ({_said(error)})"
            ) from None


def onnx_model(program: ExportedProgram, opset: int | None = None) -> Any:
    """Return a program as ONNX: a model of the `onnx` package, in an opset from 18 to 25 or in torch's choice.

    Raises `EngineError` where that is not installed, or where the opset cannot be written.
    """
    check_onnx_is_written()
    check_opset(opset)
    names: dict[str, Any] = {"input_names": ["pixels"], "output_names": ["logits"]}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about torch's own internals
        made = torch.onnx.export(program, **names, opset_version=opset, dynamo=True, verbose=False)
    assert made is not None
    model = made.model_proto
    [written] = [each.version for each in model.opset_import if not each.domain]
    if opset not in (None, written):
        raise EngineError(f"opset = {opset}: the versions installed cannot convert to it; {written} can be had")
    return model


def check_opset(opset: int | None) -> None:
    """Raise `EngineError` on an opset in which torch writes no ONNX; None is torch's choice."""
    if opset is not None and opset not in OPSETS:
        raise EngineError(f"opset = {opset}: torch writes ONNX in opsets {min(OPSETS)} to {max(OPSETS)}")


def check_onnx_is_written() -> None:
    """Raise `EngineError` where what writes ONNX is not installed."""
    try:
        import onnxscript  # type: ignore[import-not-found, unused-ignore] # noqa: F401, PLC0415 - an extra
    except ImportError:
        raise EngineError(f"onnxscript, which writes ONNX, is not installed; {_INSTALL}") from None


def onnxruntime_module() -> Any:
    """Return ONNX Runtime. Raises `EngineError` where it is not installed."""
    try:
        import onnxruntime  # type: ignore[import-untyped, unused-ignore] # noqa: PLC0415 - an extra
    except ImportError:
        raise EngineError(f"onnxruntime is not installed; {_INSTALL}") from None
    return onnxruntime


def _said(error: Exception) -> str:
    return str(error).strip().partition("\n")[0]
