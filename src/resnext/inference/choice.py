"""Which engine is quickest here: measured once for a network, a batch and a precision, and remembered."""

import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from statistics import median
from typing import Any, cast

import torch

from resnext.inference.chosen_forms import recall_forms
from resnext.inference.engine import Engine, EngineError, EngineName, FloatPrecision, Precision, check_precision
from resnext.inference.engines import ENGINES, Ready, installed
from resnext.inference.remembered import Memory, key_of

_NUM_ROUNDS, _MOST_SECONDS = 9, 4.0
_CHOICES = Memory("engines")


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """The engine that was quickest, and the milliseconds an image that each took; empty where there is only one."""

    engine: EngineName
    milliseconds: Mapping[EngineName, float]
    is_remembered: bool = False

    def words(self) -> str:
        """Say what was chosen and why."""
        if not self.milliseconds:
            return f"engine {self.engine}, the only one installed here"
        times = ", ".join(f"{name} {each:.3g} ms" for name, each in sorted(self.milliseconds.items(), key=_second))
        return f"engine {self.engine}: {times} an image{', measured earlier' if self.is_remembered else ''}"


def choose(ready: Ready, precision: Precision = "fp32") -> tuple[Choice, Engine]:
    """Return the quickest engine that is installed here, measured on the example, or remembered from an earlier call.

    What is remembered holds for the processor, the number of threads, the versions, the network's layers, the shape of
    the example, the precision, and the forms that layers take on each engine. Raises `EngineError` where no engine has
    the precision.
    """
    key = _key(ready, check_precision(precision, ready.example.device))
    remembered = _recalled(_CHOICES.recall(key))
    if remembered is not None:
        with suppress(ValueError):  # it may not be there any more
            return remembered, ready.engine(remembered.engine, precision)
    engines: dict[EngineName, Engine] = {}
    reasons = []
    for name in installed(ready.example.device):
        try:
            engines[name] = ready.engine(name, precision)
        except ValueError as error:
            reasons.append(str(error))
    if not engines:
        raise EngineError(f"no engine computes in {precision} here: {'; '.join(dict.fromkeys(reasons))}")
    milliseconds = _timed(engines, ready) if len(engines) > 1 else {}
    quickest = min(milliseconds, key=milliseconds.__getitem__, default=next(iter(engines)))
    choice = Choice(engine=quickest, milliseconds=milliseconds)
    _CHOICES.remember(key, {"engine": choice.engine, "milliseconds": dict(choice.milliseconds)})
    return choice, engines[quickest]


def _key(ready: Ready, precision: FloatPrecision) -> str:
    """Return what a choice is held by; forms that are measured later make engines quicker, and the choice is anew."""
    forms = [recall_forms(ready.network, ready.example, name, precision) for name in ENGINES]
    return key_of(ready.network, ready.example, precision, repr(forms))


def _timed(engines: Mapping[EngineName, Engine], ready: Ready) -> dict[EngineName, float]:
    """Return the median milliseconds an image, each engine in turn, and each after a call that is not counted.

    Threads of the engine before may still wait, busily, for more to do.
    """
    seconds: dict[EngineName, list[float]] = {name: [] for name in engines}
    began = time.perf_counter()
    for _ in range(_NUM_ROUNDS):
        for name, engine in engines.items():
            engine(ready.example)
            start = time.perf_counter()
            engine(ready.example)
            if ready.example.is_cuda:
                torch.cuda.synchronize()
            seconds[name].append(time.perf_counter() - start)
        if time.perf_counter() - began > _MOST_SECONDS:
            break
    return {name: 1000 * median(each) / len(ready.example) for name, each in seconds.items()}


def _recalled(held: Any) -> Choice | None:
    """Read what was remembered; what a damaged or foreign file holds is no choice, and measuring anew mends it."""
    try:
        times = {name: float(value) for name, value in held["milliseconds"].items()}
        if {held["engine"], *times} <= set(ENGINES):
            return Choice(engine=held["engine"], milliseconds=cast(dict[EngineName, float], times), is_remembered=True)
    except (TypeError, LookupError, AttributeError, ValueError):
        pass
    return None


def _second(pair: tuple[EngineName, float]) -> float:
    return pair[1]
