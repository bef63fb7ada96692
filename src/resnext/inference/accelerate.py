"""Any module on the quickest engine."""

from collections.abc import Iterable
from typing import Literal

from torch import Tensor, nn

from resnext.inference.choice import choose
from resnext.inference.engine import Engine, EngineError, EngineName, Precision
from resnext.inference.engines import Ready
from resnext.inference.openvino_engine import OpenVINOEngine
from resnext.inference.quantise import MAX_DROP, Score, quantise


def accelerate(  # noqa: PLR0913 - the last three are for int8 only, which is refused without
    network: nn.Module,
    example: Tensor,
    engine: EngineName | Literal["auto"] = "auto",
    precision: Precision = "fp32",
    *,
    calibration: Iterable[Tensor] | None = None,
    score: Score | None = None,
    max_drop: float = MAX_DROP,
) -> Engine:
    """Return an engine that computes what a module computes in evaluation mode.

    `example` is a batch of normalised images (batch, channels, height, width), on the device to compute on: its size
    says what the engine is made for, latency where it is one image and throughput where it is many; other sizes are
    taken too, as far as the module takes them. `auto` is the quickest that is installed (see `choose`).

    In fp32 logits agree with the module's to rounding, about 1e-5 of the largest; in bf16 to about 1 % of it. int8, by
    OpenVINO, needs batches of such images as `calibration` and a `score`, and costs at most `max_drop` points of top-1
    accuracy (see `quantise`, which also has the figures).
    Raises `EngineError`, a `ValueError`, where an engine or a precision cannot be had here, and `QuantisationError`,
    one of them, where int8 costs more.
    """
    if precision != "int8" and not (calibration is None and score is None):
        raise EngineError(f"precision = {precision!r}: calibration= and score= are for 'int8'; leave them out")
    ready = Ready(network, example)
    if precision == "int8" and calibration is not None and score is not None:
        if engine not in ("auto", "openvino"):
            raise EngineError(f"engine = {engine!r}: only 'openvino' computes in int8; leave it 'auto'")
        return OpenVINOEngine(quantise(ready, calibration, score, max_drop).model, len(example), precision)
    return choose(ready, precision)[1] if engine == "auto" else ready.engine(engine, precision)
