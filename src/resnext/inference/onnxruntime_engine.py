"""The engine of ONNX Runtime, and the network as ONNX."""

import warnings
from typing import Any

import torch
from torch import Tensor
from torch.export import ExportedProgram

from resnext.inference.engine import EngineError, EngineName, FloatPrecision

_INSTALL = "pip install 'resnext[onnx]'"
_FATAL = 4


class OnnxRuntimeEngine:
    """An ONNX model in a session of ONNX Runtime on the CPU, with as many threads as torch has."""

    name: EngineName = "onnxruntime"

    def __init__(self, model: bytes, precision: FloatPrecision = "fp32") -> None:
        runtime = _onnxruntime()
        if precision == "bf16":
            raise EngineError("precision = 'bf16': ONNX Runtime computes in fp32 on a CPU; use engine 'torch'")
        self.precision: FloatPrecision = precision
        options = runtime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        options.log_severity_level = _FATAL  # what fails is raised too
        try:
            self._session = runtime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # its own types of error share no base
            raise EngineError(f"ONNX Runtime cannot open the model ({_said(error)})") from None
        self._input = self._session.get_inputs()[0]

    def __call__(self, pixels: Tensor) -> Tensor:
        """Return logits (batch, classes) of normalised images."""
        try:
            [logits] = self._session.run(None, {self._input.name: pixels.contiguous().numpy()})
        except Exception as error:  # its own types of error share no base
            raise EngineError(
                f"images of shape {tuple(pixels.shape)}: this model takes {tuple(self._input.shape)} ({_said(error)})"
            ) from None
        return torch.from_numpy(logits)


def onnx_model(program: ExportedProgram) -> Any:
    """Return a program as ONNX: a model of the `onnx` package. Raises `EngineError` where that is not installed."""
    try:
        import onnxscript  # type: ignore[import-not-found, unused-ignore] # noqa: F401, PLC0415 - an extra
    except ImportError:
        raise EngineError(f"onnxscript, which writes ONNX, is not installed; {_INSTALL}") from None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about torch's own internals
        made = torch.onnx.export(program, input_names=["pixels"], output_names=["logits"], dynamo=True, verbose=False)
    assert made is not None
    return made.model_proto


def _onnxruntime() -> Any:
    try:
        import onnxruntime  # type: ignore[import-untyped, unused-ignore] # noqa: PLC0415 - an extra
    except ImportError:
        raise EngineError(f"onnxruntime is not installed; {_INSTALL}") from None
    return onnxruntime


def _said(error: Exception) -> str:
    return str(error).strip().partition("\n")[0]
