"""What an engine is: a network made ready on one runtime, the same protocol whichever that is."""

from typing import Literal, Protocol

import torch
from torch import Tensor

EngineName = Literal["torch", "compiled", "onnxruntime", "openvino"]
Precision = Literal["fp32", "bf16"]

DTYPES: dict[Precision, torch.dtype] = {"fp32": torch.float32, "bf16": torch.bfloat16}

_BF16_INSTRUCTIONS = ("avx512_bf16", "amx_bf16", "bf16", "sve_bf16")


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


def precisions_here() -> tuple[Precision, ...]:
    """Return the precisions for which this processor has instructions."""
    capabilities = torch.cpu.get_capabilities()
    has_bf16 = any(capabilities.get(instructions, False) for instructions in _BF16_INSTRUCTIONS)
    return ("fp32", "bf16") if has_bf16 else ("fp32",)


def check_precision(precision: Precision, device: torch.device) -> None:
    """Raise `EngineError` on a precision that is none, or for which a CPU has no instructions."""
    if precision not in DTYPES:
        raise EngineError(f"precision = {precision!r}: allowed are {', '.join(DTYPES)}")
    if device.type == "cpu" and precision not in precisions_here():
        raise EngineError(f"precision = {precision!r}: this CPU has no instructions for it; use 'fp32'")
