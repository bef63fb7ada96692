"""What an engine is: a network made ready on one runtime, the same protocol whichever that is."""

from typing import Literal, Protocol

from torch import Tensor

EngineName = Literal["torch", "compiled", "onnxruntime", "openvino"]
Precision = Literal["fp32", "bf16"]


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
