"""What an engine is: a network made ready on one runtime, the same protocol whichever that is."""

from typing import Literal, Protocol, get_args

import torch
from torch import Tensor

EngineName = Literal["torch", "compiled", "onnxruntime", "openvino"]
FloatPrecision = Literal["fp32", "bf16"]
Precision = Literal[FloatPrecision, "int8"]

DTYPES: dict[FloatPrecision, torch.dtype] = {"fp32": torch.float32, "bf16": torch.bfloat16}

_BF16_INSTRUCTIONS = ("avx512_bf16", "amx_bf16", "bf16", "sve_bf16")
_QUANTISE_FIRST = (
    "precision = 'int8': a network is quantised first, by resnext export ARTEFACT --to openvino --precision int8 --data"
    " DATA, or in code by accelerate with calibration= and score="
)


class EngineError(ValueError):
    """An engine that cannot be had here, or input that it cannot take; the message says why and what can."""


class Engine(Protocol):
    """Computes the logits of a network, on one runtime and in one precision."""

    @property
    def name(self) -> EngineName:
        """The runtime."""
        ...

    @property
    def precision(self) -> Precision:
        """What it computes in; logits are fp32 always."""
        ...

    def __call__(self, pixels: Tensor) -> Tensor:
        """Return logits (batch, classes) of normalised images (batch, channels, height, width).

        Raises `EngineError` where it does not take images of that shape.
        """
        ...


def precisions_here() -> tuple[FloatPrecision, ...]:
    """Return the precisions of floating point for which this processor has instructions."""
    capabilities = torch.cpu.get_capabilities()
    has_bf16 = any(capabilities.get(instructions, False) for instructions in _BF16_INSTRUCTIONS)
    return ("fp32", "bf16") if has_bf16 else ("fp32",)


def precisions_of(engine: EngineName) -> tuple[FloatPrecision, ...]:
    """Return the precisions in which an engine computes on this processor; ONNX Runtime has fp32 alone."""
    return ("fp32",) if engine == "onnxruntime" else precisions_here()


def check_precision(precision: Precision, device: torch.device) -> FloatPrecision:
    """Return a precision that an engine takes a network in.

    Raises `EngineError` on one that is none, for which a CPU has no instructions, or in which a network has to be
    quantised first.
    """
    if precision == "int8":
        raise EngineError(_QUANTISE_FIRST)
    if precision not in DTYPES:
        raise EngineError(f"precision = {precision!r}: allowed are {', '.join(get_args(Precision))}")
    if device.type == "cpu" and precision not in precisions_here():
        raise EngineError(f"precision = {precision!r}: this CPU has no instructions for it; use 'fp32'")
    return precision
