from collections.abc import Callable

import pytest
import torch

from resnext.inference import contestants as module
from resnext.inference.contestants import Contestant, Subject, contestants
from resnext.model.forms import build
from resnext.spec.architecture import Architecture

SMALL = Architecture(stage_depths=(1, 1, 1, 1), cardinality=4, base_width=4, num_classes=5)
NAMES = [
    "torchvision eager",
    "torchvision channels_last, folded",
    "timm eager",
    "timm channels_last, folded",
    "resnext eager",
    "resnext torch",
    "resnext onnxruntime",
    "resnext openvino",
]
COMPILED = {"torchvision compiled, frozen", "timm compiled, frozen", "resnext compiled"}


@pytest.fixture
def with_bf16(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "precisions_here", lambda: ("fp32", "bf16"))


def named(entrants: tuple[Contestant, ...], precision: str) -> list[str]:
    return [entrant.name for entrant in entrants if entrant.precision == precision]


@pytest.mark.usefixtures("with_bf16")
def test_all_take_part_in_single_precision_and_none_that_is_eager_in_half() -> None:
    assert named(contestants(), "fp32") == NAMES
    assert named(contestants(), "bf16") == [name for name in NAMES if "eager" not in name]


@pytest.mark.usefixtures("with_bf16")
def test_what_has_to_be_compiled_takes_part_where_it_is_asked_for() -> None:
    for precision in ("fp32", "bf16"):
        assert set(named(contestants(compiled=True), precision)) - set(named(contestants(), precision)) == COMPILED


def test_each_computes_the_networks_logits(randomised: Callable[..., None]) -> None:
    network = build(SMALL).eval()
    randomised(network)
    subject = Subject(network, torch.rand(2, 3, 32, 32))
    expected = module.answer(network, subject.example)
    in_torch = [entrant for entrant in contestants() if entrant.setting not in ("onnxruntime", "openvino")]
    for entrant in in_torch:
        relative = 1e-4 if entrant.precision == "fp32" else 5e-2
        found = entrant.make(subject)()
        torch.testing.assert_close(found, expected, rtol=0, atol=relative * float(expected.abs().max()))
