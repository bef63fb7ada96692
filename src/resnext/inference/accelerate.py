"""Any module on the quickest engine."""

from typing import Literal

from torch import Tensor, nn

from resnext.inference.choice import choose
from resnext.inference.engine import Engine, EngineName, Precision
from resnext.inference.engines import Ready


def accelerate(
    network: nn.Module, example: Tensor, engine: EngineName | Literal["auto"] = "auto", precision: Precision = "fp32"
) -> Engine:
    """Return an engine that computes what a module computes in evaluation mode.

    `example` is a batch of normalised images (batch, channels, height, width), on the device to compute on: its size
    says what the engine is made for, latency where it is one image and throughput where it is many; other sizes are
    taken too, as far as the module takes them. `auto` is the quickest that is installed (see `choose`).

    In fp32 logits agree with the module's to rounding, about 1e-5 of the largest; in bf16 to about 1 % of it.
    Raises `EngineError`, a `ValueError`, where an engine or a precision cannot be had here.
    """
    ready = Ready(network, example)
    return choose(ready, precision)[1] if engine == "auto" else ready.engine(engine, precision)
