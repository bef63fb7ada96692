"""Integers of eight bits in place of fp32, measured on images and let through only where answers stay right.

Post-training quantisation by NNCF: the ranges of values are those that the user's own images show.
"""

from bisect import bisect_left
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from resnext.inference.engine import Engine, EngineError
from resnext.inference.engines import Ready, check_device
from resnext.inference.openvino_engine import OpenVINOEngine, openvino_model
from resnext.inference.put_back import num_quantised_layers, put_back, quantisers
from resnext.inference.telemetry import no_telemetry, quiet
from resnext.inference.telling import Tell, untold
from resnext.spec.value import Spec

if TYPE_CHECKING:
    import openvino

Score = Callable[[Engine], float]

MAX_DROP = 0.3
ROUNDING = 1e-9
_MOST_IMAGES = 300
_NUM_RANKING_IMAGES = 32
_MOST_PUT_BACK = 1 / 3  # beyond that little of the speed is left
_NUM_AXES, _ALL = 4, 100


class QuantisationError(EngineError):
    """A network cannot be quantised with what was given; the message says why."""


class DropError(QuantisationError):
    """int8 was tried, and costs more than is allowed; the message has the figures."""


class Cost(Spec):
    """What int8 costs: accuracies are top-1 in percent, as `score` gave them.

    `num_put_back` of the `num_layers` convolutions and linear layers that were quantised compute in fp32 again.
    """

    fp32_top1_percent: float
    int8_top1_percent: float
    num_layers: int
    num_put_back: int

    @property
    def drop(self) -> float:
        """By how many points top-1 accuracy falls."""
        return self.fp32_top1_percent - self.int8_top1_percent

    def words(self) -> str:
        """Say it in half a sentence."""
        return (
            f"top-1 {self.int8_top1_percent:.2f} % in int8 against {self.fp32_top1_percent:.2f} % in fp32, a drop of"
            f" {self.drop:.2f} points with {self.num_put_back} of {self.num_layers} layers put back"
        )


@dataclass(frozen=True, slots=True)
class Quantised:
    """A quantised model, and what it costs."""

    model: "openvino.Model"
    cost: Cost


def quantise(
    ready: Ready, calibration: Iterable[Tensor], score: Score, max_drop: float = MAX_DROP, tell: Tell = untold
) -> Quantised:
    """Return a network as an OpenVINO model in int8 whose top-1 accuracy falls by at most `max_drop` points.

    `calibration` is batches of normalised images (batch, channels, height, width) such as the network will see; the
    first 300 images count. `score` takes an engine and returns its top-1 accuracy in percent on other images. Where it
    falls further than allowed, values are left unrounded where rounding does most harm, and the layers that read them
    are put back to fp32, as few as it takes and at most a third of the places. `tell` is told what is being done.
    Raises `DropError`, a `QuantisationError`, where that does not help, `QuantisationError` where the arguments cannot
    be used, and `EngineError` where OpenVINO or NNCF is not installed, or the network is not on the CPU.
    """
    check_device("openvino", ready.example.device)
    if not 0 <= max_drop <= _ALL:
        raise QuantisationError(f"max_drop = {max_drop}: between 0 and 100 points of top-1 accuracy are allowed")
    nncf, images, original = nncf_module(), _images(calibration), openvino_model(ready.program)
    plain = OpenVINOEngine(original, len(ready.example))
    plain(images[0])  # refuses images that the network does not take
    tell("Scoring fp32")
    fp32 = _top1(score, plain)
    if fp32 <= 1:
        raise QuantisationError(f"score = {fp32:g} in fp32: top-1 accuracy in percent is needed, of a trained network")
    tell(f"Calibrating on {len(images):,} images")
    whole = _calibrated(nncf, original, images)
    places = quantisers(whole)

    def without(names: Sequence[str]) -> Quantised:
        tell(f"Putting back {len(names)} of {len(places)} places" if names else "Scoring int8")
        model = put_back(whole, original, names)
        int8 = _top1(score, OpenVINOEngine(model, len(ready.example), "int8"))
        return Quantised(model, _cost((fp32, int8), num_quantised_layers(whole), num_quantised_layers(model)))

    first = without(())
    if first.cost.drop <= max_drop + ROUNDING:
        return first
    tell(f"Ranking {len(places)} places")
    ranked = _ranked(whole, original, images)
    return _least(lambda count: without(ranked[:count]), int(len(ranked) * _MOST_PUT_BACK), max_drop)


def _cost(top1: tuple[float, float], num_layers: int, num_left: int) -> Cost:
    """Say what int8 costs, of the accuracies in fp32 and int8 and the layers that were quantised and still are."""
    return Cost(
        fp32_top1_percent=top1[0],
        int8_top1_percent=top1[1],
        num_layers=num_layers,
        num_put_back=num_layers - num_left,
    )


def _calibrated(nncf: Any, original: "openvino.Model", images: Sequence[Tensor]) -> "openvino.Model":
    """Return a model whose every layer is quantised, by the ranges that images show."""
    try:
        with quiet():
            return nncf.quantize(original, nncf.Dataset([image.numpy() for image in images]), subset_size=_MOST_IMAGES)
    except Exception as error:  # its own types of error share no base
        raise QuantisationError(f"NNCF cannot quantise this network ({str(error).strip()})") from None


def _least(attempt: Callable[[int], Quantised], most: int, max_drop: float) -> Quantised:
    """Return the attempt with the smallest count, from 1 to `most`, that holds, found by halving.

    Raises `QuantisationError`, with the figures at `most`, where none was found.
    """
    attempt = cache(attempt)
    least = bisect_left(range(most + 1), True, lo=1, key=lambda count: attempt(count).cost.drop <= max_drop + ROUNDING)
    if least > most:
        raise DropError(
            f"max_drop = {max_drop:g} points: {attempt(most).cost.words()}; calibrate on more images of the kind that"
            " the network sees, normalised as it sees them, or allow a larger drop"
        )
    return attempt(least)


def _ranked(whole: "openvino.Model", original: "openvino.Model", images: Sequence[Tensor]) -> list[str]:
    """Return the names of the quantisers, that without which logits come nearest to those of fp32 first.

    It is seen from the first 32 images, of those that have the size of the first.
    """
    batch = torch.cat([image for image in images if image.shape == images[0].shape][:_NUM_RANKING_IMAGES])

    def logits(model: "openvino.Model") -> Tensor:
        return OpenVINOEngine(model, len(batch))(batch)

    expected = logits(original)
    return sorted(
        quantisers(whole), key=lambda name: float((logits(put_back(whole, original, [name])) - expected).norm())
    )


def _images(calibration: Iterable[Tensor]) -> list[Tensor]:
    """Return the first images, each as a batch of its own, so that it counts the same whatever the batches were."""
    images: list[Tensor] = []
    for batch in calibration:
        if not isinstance(batch, Tensor) or batch.ndim != _NUM_AXES:
            given = f"a tensor of shape {tuple(batch.shape)}" if isinstance(batch, Tensor) else type(batch).__name__
            raise QuantisationError(
                f"calibration gives {given}: batches of normalised images (batch, channels, height, width) are needed"
            )
        images.extend(torch.split(batch[: _MOST_IMAGES - len(images)].float().cpu().contiguous(), 1))
        if len(images) == _MOST_IMAGES:
            break
    if not images:
        raise QuantisationError("calibration gives no image: some hundred are needed, such as those of training")
    if not all(bool(image.isfinite().all()) for image in images):
        raise QuantisationError("calibration gives values that are not finite: normalised images are needed")
    return images


def _top1(score: Score, engine: Engine) -> float:
    percent = float(score(engine))
    if not 0 <= percent <= _ALL:
        raise QuantisationError(f"score = {percent:g}: top-1 accuracy in percent, 0 to 100, is needed")
    return percent


def nncf_module() -> Any:
    """Return NNCF. Raises `EngineError` where it is not installed."""
    try:
        with no_telemetry():
            import nncf  # noqa: PLC0415 - an extra
    except ImportError:
        raise EngineError("nncf, which quantises, is not installed; pip install 'resnext[openvino]'") from None
    return nncf
