"""The engine of OpenVINO: on CPUs mostly the quickest."""

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.export import ExportedProgram

from resnext.inference.engine import EngineError, EngineName, Precision

if TYPE_CHECKING:
    import openvino

_TYPES = {"fp32": "f32", "bf16": "bf16"}


class OpenVINOEngine:
    """A model compiled by OpenVINO for the CPU, with as many threads as torch has.

    A batch is cut into as many parts as there are streams, which OpenVINO chooses: one where latency counts, that is
    for a `batch_size` of 1, several where throughput does.
    """

    name: EngineName = "openvino"

    def __init__(self, model: "openvino.Model", batch_size: int, precision: Precision = "fp32") -> None:
        core = openvino_module().Core()
        if precision == "bf16" and "BF16" not in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
            raise EngineError("precision = 'bf16': this CPU has no instructions for it; use 'fp32'")
        self.precision: Precision = precision
        settings = {
            "PERFORMANCE_HINT": "LATENCY" if batch_size == 1 else "THROUGHPUT",
            "INFERENCE_PRECISION_HINT": _TYPES[precision],
            "INFERENCE_NUM_THREADS": torch.get_num_threads(),
        }
        try:
            self._compiled = core.compile_model(model, "CPU", settings)
        except RuntimeError as error:
            raise EngineError(f"engine 'openvino': the model cannot be compiled ({_said(error)})") from None
        self._queue = openvino_module().AsyncInferQueue(self._compiled)
        self._takes = self._compiled.input(0).partial_shape

    def __call__(self, pixels: Tensor) -> Tensor:
        """Return logits (batch, classes) of normalised images."""
        parts = pixels.contiguous().chunk(len(self._queue))
        logits: dict[int, Tensor] = {}

        def keep(request: Any, number: int) -> None:
            logits[number] = torch.from_numpy(request.get_output_tensor(0).data.copy())

        self._queue.set_callback(keep)
        try:
            for number, part in enumerate(parts):
                self._queue.start_async(part.numpy(), number, share_inputs=True)
            self._queue.wait_all()
        except RuntimeError as error:
            self._queue = openvino_module().AsyncInferQueue(self._compiled)  # this one would repeat its error
            raise EngineError(
                f"images of shape {tuple(pixels.shape)}: this model takes {self._takes} ({_said(error)})"
            ) from None
        return torch.cat([logits[number] for number in range(len(parts))])


def openvino_module() -> Any:
    """Return OpenVINO. Raises `EngineError` where it is not installed."""
    try:
        import openvino  # noqa: PLC0415 - an extra
    except ImportError:
        raise EngineError("openvino is not installed; pip install 'resnext[openvino]'") from None
    return openvino


def openvino_model(program: ExportedProgram) -> "openvino.Model":
    """Return a program as a model of OpenVINO. Raises `EngineError` where that is not installed."""
    return openvino_module().convert_model(program)


def _said(error: Exception) -> str:
    return str(error).strip().rpartition("\n")[2]
