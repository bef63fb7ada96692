"""The engine of OpenVINO: on CPUs mostly the quickest."""

from collections.abc import Sequence
from threading import Lock
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.export import ExportedProgram

from resnext.inference.engine import EngineError, EngineName, Precision
from resnext.inference.telemetry import no_telemetry, quiet

if TYPE_CHECKING:
    import openvino

_TYPES: dict[Precision, str] = {"fp32": "f32", "bf16": "bf16", "int8": "f32"}  # of what is not quantised


class OpenVINOEngine:
    """A model compiled by OpenVINO for the CPU, with as many threads as torch has.

    A batch is cut into as many parts as there are streams, which OpenVINO chooses: one where latency counts, that is
    for a `batch_size` of 1, several where throughput does. For a `batch_size` of 1 the model is compiled once more, for
    the size of the first image: a size that is open costs half a millisecond. In `int8` it takes a model that is
    quantised already. Threads may share it, and wait for each other.
    """

    name: EngineName = "openvino"

    def __init__(self, model: "openvino.Model", batch_size: int, precision: Precision = "fp32") -> None:
        self._core = openvino_module().Core()
        if precision == "bf16" and "BF16" not in self._core.get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
            raise EngineError("precision = 'bf16': this CPU has no instructions for it; use 'fp32'")
        self.precision: Precision = precision
        self._settings = {
            "PERFORMANCE_HINT": "LATENCY" if batch_size == 1 else "THROUGHPUT",
            "INFERENCE_PRECISION_HINT": _TYPES[precision],
            "INFERENCE_NUM_THREADS": torch.get_num_threads(),
        }
        try:
            self._compiled = self._core.compile_model(model, "CPU", self._settings)
        except RuntimeError as error:
            raise EngineError(f"engine 'openvino': the model cannot be compiled ({_said(error)})") from None
        self._start_anew()
        self._takes = self._compiled.input(0).partial_shape
        self._one_at_a_time = Lock()
        self._to_fix = model if batch_size == 1 else None
        self._fixed: Any = None

    def __call__(self, pixels: Tensor) -> Tensor:
        """Return logits (batch, classes) of normalised images."""
        with self._one_at_a_time:
            return self._computed(pixels)

    def _computed(self, pixels: Tensor) -> Tensor:
        parts = pixels.contiguous().chunk(len(self._queue))
        try:
            if len(pixels) == 1 and self._fits_fixed(pixels):
                return torch.from_numpy(self._fixed(pixels.contiguous().numpy(), share_inputs=True)[0])
            return self._at_once(parts) if len(parts) > 1 else self._alone(parts[0])
        except RuntimeError as error:
            self._start_anew()  # these would repeat their error
            raise EngineError(
                f"images of shape {tuple(pixels.shape)}: this model takes {self._takes} ({_said(error)})"
            ) from None

    def _start_anew(self) -> None:
        self._queue = openvino_module().AsyncInferQueue(self._compiled)
        self._request = self._compiled.create_infer_request()

    def _fits_fixed(self, pixels: Tensor) -> bool:
        """Tell whether an image has the size of the first, for which the model is compiled when that comes."""
        if self._to_fix is not None:
            model = self._to_fix.clone()
            model.reshape(list(pixels.shape))
            self._fixed, self._to_fix = self._core.compile_model(model, "CPU", self._settings), None
        return self._fixed is not None and list(self._fixed.input(0).shape) == list(pixels.shape)

    def _alone(self, pixels: Tensor) -> Tensor:
        """Compute without the queue, which costs a thread's turn in Python.

        A request is started and waited for, which raises where images do not fit; where sizes are open, one that infers
        at once gives the answer before this, and no error.
        """
        given = pixels.numpy()
        self._request.start_async([given], share_inputs=True)
        self._request.wait()
        return torch.from_numpy(self._request.get_output_tensor(0).data.copy())

    def _at_once(self, parts: Sequence[Tensor]) -> Tensor:
        """Compute the parts in streams of their own."""
        logits: dict[int, Tensor] = {}

        def keep(request: Any, number: int) -> None:
            logits[number] = torch.from_numpy(request.get_output_tensor(0).data.copy())

        self._queue.set_callback(keep)
        for number, part in enumerate(parts):
            self._queue.start_async(part.numpy(), number, share_inputs=True)
        self._queue.wait_all()
        return torch.cat([logits[number] for number in range(len(parts))])


def openvino_module() -> Any:
    """Return OpenVINO. Raises `EngineError` where it is not installed."""
    try:
        with no_telemetry():
            import openvino  # noqa: PLC0415 - an extra
    except ImportError:
        raise EngineError("openvino is not installed; pip install 'resnext[openvino]'") from None
    return openvino


def openvino_model(program: ExportedProgram) -> "openvino.Model":
    """Return a program as a model of OpenVINO. Raises `EngineError` where that is not installed."""
    runtime = openvino_module()
    with quiet():  # where NNCF has been imported, this imports more of it
        return runtime.convert_model(program)


def _said(error: Exception) -> str:
    return str(error).strip().rpartition("\n")[2]
