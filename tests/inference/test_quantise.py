"""Quantisation on digits, by a network that has learnt them for a few seconds."""

import math
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from sklearn.datasets import load_digits
from torch import Tensor, nn

import resnext
from resnext.inference.engine import Engine, EngineError
from resnext.inference.engines import Ready
from resnext.inference.openvino_engine import OpenVINOEngine, openvino_model
from resnext.inference.put_back import num_quantised_layers, put_back, quantisers
from resnext.inference.quantise import QuantisationError, Quantised, quantise

for package in ("openvino", "nncf"):
    pytest.importorskip(package, reason=f"{package}, an extra, is not installed")

NUM_TRAINING = 1200


@dataclass(frozen=True)
class Trained:
    """A network that tells digits apart, its training images and its score on others."""

    network: nn.Module
    ready: Ready
    pixels: Tensor
    score: Callable[[Engine], float]

    def calibration(self, change: Callable[[Tensor], Tensor] = torch.clone) -> tuple[Tensor, ...]:
        return torch.split(change(self.pixels[:32]), 16)


@pytest.fixture(scope="module")
def trained() -> Trained:
    digits = load_digits()
    pixels = torch.from_numpy(digits.images).float()[:, None] / 8 - 1
    pixels = F.interpolate(pixels, size=16).repeat(1, 3, 1, 1)
    labels = torch.from_numpy(digits.target)
    network = resnext.build(
        resnext.architecture("resnext11_2x8d", base_channels=8, num_classes=10),
        generator=torch.Generator().manual_seed(0),
    )
    optimiser = torch.optim.SGD(network.parameters(), lr=0.05, momentum=0.9)
    shuffled = torch.randperm(NUM_TRAINING, generator=torch.Generator().manual_seed(0))
    for _ in range(4):
        for batch in shuffled.split(64):
            optimiser.zero_grad()
            F.cross_entropy(network(pixels[batch]), labels[batch]).backward()
            optimiser.step()
    held_out, truth = pixels[NUM_TRAINING:], labels[NUM_TRAINING:]

    def score(engine: Engine) -> float:
        return 100 * float((engine(held_out).argmax(dim=1) == truth).double().mean())

    return Trained(network.eval(), Ready(network, pixels[:8]), pixels[:NUM_TRAINING], score)


@pytest.fixture(scope="module")
def quantised(trained: Trained) -> Quantised:
    return quantise(trained.ready, trained.calibration(), trained.score, max_drop=1.0)


@pytest.fixture(scope="module")
def tiny() -> Ready:
    network = nn.Sequential(nn.Conv2d(3, 8, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    return Ready(network, torch.randn(2, 3, 16, 16))


def test_int8_keeps_the_accuracy_and_every_layer_has_weights_of_eight_bits(
    trained: Trained, quantised: Quantised
) -> None:
    assert quantised.cost.drop <= 1.0
    assert quantised.cost.fp32_top1_percent == pytest.approx(trained.score(trained.ready.engine("openvino")))
    engine = OpenVINOEngine(quantised.model, 8, "int8")
    assert (engine.name, engine.precision) == ("openvino", "int8")
    assert trained.score(engine) == quantised.cost.int8_top1_percent
    num_layers = sum(isinstance(module, nn.Conv2d | nn.Linear) for module in trained.network.modules())
    assert quantised.cost.num_layers == num_quantised_layers(quantised.model) == num_layers
    assert quantised.cost.num_put_back == 0
    cost = quantised.cost
    assert cost.words() == (
        f"top-1 {cost.int8_top1_percent:.2f} % in int8 against {cost.fp32_top1_percent:.2f} % in fp32, a drop"
        f" of {cost.drop:.2f} points with 0 of {num_layers} layers put back"
    )


@pytest.mark.parametrize("shape", [(1, 3, 16, 16), (5, 3, 16, 16), (2, 3, 24, 20)])
def test_a_quantised_network_takes_other_batches_and_sizes(
    trained: Trained, quantised: Quantised, shape: tuple[int, ...]
) -> None:
    given = F.interpolate(trained.pixels[: shape[0]], size=shape[2:])
    with torch.inference_mode():
        expected = trained.network(given)
    error = (OpenVINOEngine(quantised.model, 8, "int8")(given) - expected).norm() / expected.norm()
    assert 1e-4 < float(error) < 0.15


def test_accelerate_quantises_where_it_is_given_images_and_a_score(trained: Trained) -> None:
    scored = []

    def score(engine: Engine) -> float:
        scored.append(engine.precision)
        return trained.score(engine)

    engine = resnext.accelerate(
        trained.network,
        trained.pixels[:1],
        precision="int8",
        calibration=trained.calibration(),
        score=score,
        max_drop=1.0,
    )
    assert (engine.name, engine.precision) == ("openvino", "int8")
    assert engine(trained.pixels[:3]).shape == (3, 10)
    assert scored == ["fp32", "int8"]


@pytest.mark.parametrize(
    "change",
    [torch.zeros_like, lambda pixels: (pixels + 1) * 127.5],
    ids=["one grey", "bytes that are not normalised"],
)
def test_a_broken_calibration_is_refused_with_the_figures(trained: Trained, change: Callable[[Tensor], Tensor]) -> None:
    with pytest.raises(QuantisationError) as raised:
        quantise(trained.ready, trained.calibration(change), trained.score)
    found = re.fullmatch(
        r"max_drop = 0\.3 points: top-1 ([\d.]+) % in int8 against ([\d.]+) % in fp32, a drop of ([\d.]+) points with"
        r" (\d+) of 14 layers put back; [^\n]*",
        str(raised.value),
    )
    assert found is not None
    int8, fp32, drop, num_put_back = map(float, found.groups())
    assert drop == pytest.approx(fp32 - int8, abs=0.011) and drop > 0.3
    assert num_put_back > 0


def test_layers_are_put_back_until_the_accuracy_holds(trained: Trained, quantised: Quantised) -> None:
    def score(engine: Engine) -> float:
        """Fall by a point for every hundredth by which logits are off, so that rounding shows."""
        with torch.inference_mode():
            expected = trained.network(trained.pixels[:64])
        return 90 - 100 * float((engine(trained.pixels[:64]) - expected).norm() / expected.norm())

    lost_whole = score(trained.ready.engine("openvino")) - score(OpenVINOEngine(quantised.model, 8, "int8"))
    told: list[str] = []
    some = quantise(trained.ready, trained.calibration(), score, 0.7 * lost_whole, told.append)
    assert 0 < some.cost.num_put_back < some.cost.num_layers
    assert 0 < some.cost.drop <= 0.7 * lost_whole
    assert num_quantised_layers(some.model) == some.cost.num_layers - some.cost.num_put_back
    assert score(OpenVINOEngine(some.model, 8, "int8")) == pytest.approx(some.cost.int8_top1_percent)
    num_places = len(quantisers(quantised.model))
    assert told[:4] == ["Scoring fp32", "Calibrating on 32 images", "Scoring int8", f"Ranking {num_places} places"]
    assert all(re.fullmatch(rf"Putting back \d+ of {num_places} places", words) for words in told[4:]) and told[4:]


def test_images_of_several_sizes_are_ranked_by_those_of_the_first(trained: Trained) -> None:
    images = (trained.pixels[:8], F.interpolate(trained.pixels[8:12], size=24))
    scores = iter((90.0, 80.0))
    found = quantise(trained.ready, images, lambda _: next(scores, 90.0), 1.0)
    assert found.cost.drop == 0 and found.cost.num_put_back > 0


def test_with_every_quantiser_gone_the_network_is_the_original(trained: Trained, quantised: Quantised) -> None:
    original = openvino_model(trained.ready.program)
    undone = put_back(quantised.model, original, quantisers(quantised.model))
    assert num_quantised_layers(undone) == 0 and not quantisers(undone)
    assert quantisers(quantised.model)  # left as it was
    given = trained.pixels[:4]
    expected = OpenVINOEngine(original, 4)(given)
    torch.testing.assert_close(
        OpenVINOEngine(undone, 4)(given), expected, rtol=0, atol=1e-5 * float(expected.abs().max())
    )


def test_calibration_stops_at_the_first_300_images(tiny: Ready) -> None:
    seen = []

    def batches() -> Iterator[Tensor]:
        while True:
            seen.append(128)
            yield torch.randn(128, 3, 16, 16)

    quantise(tiny, batches(), lambda engine: 90.0)
    assert seen == [128, 128, 128]


@pytest.mark.parametrize(
    ("calibration", "score", "max_drop", "said"),
    [
        ([], 90.0, 0.3, "calibration gives no image: "),
        ([(torch.zeros(2, 3, 16, 16), torch.zeros(2))], 90.0, 0.3, "calibration gives tuple: batches of normalised "),
        (torch.zeros(2, 3, 16, 16), 90.0, 0.3, "calibration gives a tensor of shape (3, 16, 16): batches "),
        ([torch.full((2, 3, 16, 16), math.inf)], 90.0, 0.3, "calibration gives values that are not finite: "),
        ([torch.zeros(2, 1, 16, 16)], 90.0, 0.3, "images of shape (1, 1, 16, 16): this model takes "),
        ([torch.zeros(2, 3, 16, 16)], 0.97, 0.3, "score = 0.97 in fp32: top-1 accuracy in percent is needed"),
        ([torch.zeros(2, 3, 16, 16)], math.nan, 0.3, "score = nan: top-1 accuracy in percent, 0 to 100, is needed"),
        ([torch.zeros(2, 3, 16, 16)], 90.0, -0.1, "max_drop = -0.1: between 0 and 100 points "),
        ([torch.zeros(2, 3, 16, 16)], 90.0, math.nan, "max_drop = nan: between 0 and 100 points "),
    ],
)
def test_what_cannot_be_used_is_one_sentence(
    tiny: Ready, calibration: Iterable[Tensor], score: float, max_drop: float, said: str
) -> None:
    with pytest.raises(EngineError) as raised:
        quantise(tiny, calibration, lambda engine: score, max_drop)
    assert str(raised.value).startswith(said) and "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"precision": "int8", "engine": "torch"}, "engine = 'torch': only 'openvino' computes in int8; "),
        ({"precision": "fp32"}, "precision = 'fp32': calibration=, score= and max_drop= are for 'int8'; "),
        (
            {"precision": "fp32", "calibration": None, "score": None, "max_drop": 1.0},
            "precision = 'fp32': calibration=, score= and max_drop= are for 'int8'; leave them out",
        ),
        ({"precision": "int8", "score": None}, "precision = 'int8': a network is quantised first, by resnext export "),
        ({"precision": "int8", "calibration": None}, "precision = 'int8': a network is quantised first, by "),
    ],
)
def test_accelerate_refuses_what_does_not_go_together(trained: Trained, arguments: dict[str, Any], said: str) -> None:
    given = {"calibration": trained.calibration(), "score": trained.score, **arguments}
    with pytest.raises(EngineError, match=f"^{re.escape(said)}"):
        resnext.accelerate(trained.network, trained.pixels[:1], **given)


def test_without_nncf_the_line_that_installs_it_is_said(monkeypatch: pytest.MonkeyPatch, trained: Trained) -> None:
    monkeypatch.setitem(sys.modules, "nncf", None)
    with pytest.raises(
        EngineError, match=r"^nncf, which quantises, is not installed; pip install 'resnext\[openvino\]'$"
    ):
        quantise(trained.ready, trained.calibration(), trained.score)


QUIETLY = """
import sys
def watch(event, arguments):
    if event.startswith("socket.") and event != "socket.__new__":
        print(event, arguments)
sys.addaudithook(watch)
import torch
from resnext.inference.engines import Ready
from resnext.inference.quantise import quantise
network = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3), torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten())
images = torch.randn(4, 3, 16, 16)
quantise(Ready(network, images), [images], lambda engine: 90.0)
print([name for name in sys.modules if name.startswith("openvino_telemetry")])
"""


def test_nothing_is_printed_and_nothing_reports_to_anybody(tmp_path: Path) -> None:
    environment = {**os.environ, "HOME": str(tmp_path), "CI": ""}
    done = subprocess.run([sys.executable, "-c", QUIETLY], capture_output=True, text=True, env=environment, check=True)
    assert done.stdout == "[]\n"
    assert not (tmp_path / "intel").exists()
