"""Any module on the quickest engine."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from torch import Tensor, nn

from resnext.inference.choice import Choice, choose
from resnext.inference.engine import Engine, EngineError, EngineName, Precision
from resnext.inference.engines import Ready
from resnext.inference.openvino_engine import OpenVINOEngine
from resnext.inference.quantise import MAX_DROP, Score, quantise


@dataclass(frozen=True, slots=True)
class Accelerated:
    """An engine, and why it is that one: `choice` has what `auto` found, and is None where the engine was named."""

    engine: Engine
    choice: Choice | None = None

    @property
    def name(self) -> EngineName:
        """The runtime."""
        return self.engine.name

    @property
    def precision(self) -> Precision:
        """What it computes in; logits are fp32 always."""
        return self.engine.precision

    def __call__(self, pixels: Tensor) -> Tensor:
        """Return logits (batch, classes) of normalised images. Raises `EngineError` as the engine does."""
        return self.engine(pixels)


def accelerate(  # noqa: PLR0913 - the last three are for int8 only, which is refused without
    network: nn.Module,
    example: Tensor,
    engine: EngineName | Literal["auto"] = "auto",
    precision: Precision = "fp32",
    *,
    calibration: Iterable[Tensor] | None = None,
    score: Score | None = None,
    max_drop: float | None = None,
) -> Accelerated:
    """Return an engine that computes what a module computes in evaluation mode.

    `example` is a batch of normalised images (batch, channels, height, width), on the device to compute on: its size
    says what the engine is made for, latency where it is one image and throughput where it is many; other sizes are
    taken too, as far as the module takes them. `auto` is the quickest that is installed (see `choose`); `name`
    and `choice.words()` of what is returned say which and why.

    In fp32 logits agree with the module's to rounding, about 1e-5 of the largest; in bf16 to about 1 % of it. int8, by
    OpenVINO, needs batches of such images as `calibration` and a `score`, and costs at most `max_drop` points of top-1
    accuracy, 0.3 where none is given (see `quantise`, which also has the figures).
    Raises `EngineError`, a `ValueError`, where an engine or a precision cannot be had here, and `QuantisationError`,
    one of them, where int8 costs more.
    """
    if precision != "int8" and any(given is not None for given in (calibration, score, max_drop)):
        raise EngineError(
            f"precision = {precision!r}: calibration=, score= and max_drop= are for 'int8'; leave them out"
        )
    ready = Ready(network, example)
    if precision == "int8" and calibration is not None and score is not None:
        if engine not in ("auto", "openvino"):
            raise EngineError(f"engine = {engine!r}: only 'openvino' computes in int8; leave it 'auto'")
        found = quantise(ready, calibration, score, MAX_DROP if max_drop is None else max_drop)
        return Accelerated(OpenVINOEngine(found.model, len(example), precision))
    if engine == "auto":
        choice, quickest = choose(ready, precision)
        return Accelerated(quickest, choice)
    return Accelerated(ready.engine(engine, precision))
