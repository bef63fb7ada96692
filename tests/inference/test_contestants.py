from collections.abc import Callable
from pathlib import Path

import pytest
import torch

import resnext
from resnext.inference import contestants as module
from resnext.inference.contestants import Contestant, Workload, contestants, is_exported, open_file
from resnext.model.forms import build
from resnext.model.network import Network
from resnext.spec.architecture import Architecture

SIZE = 16  # of the artefact
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
    workload = Workload(network, torch.rand(2, 3, 32, 32))
    expected = module.answer(network, workload.example)
    in_torch = [entrant for entrant in contestants() if entrant.setting not in ("onnxruntime", "openvino")]
    for entrant in in_torch:
        relative = 1e-4 if entrant.precision == "fp32" else 5e-2
        found = entrant.make(workload)()
        torch.testing.assert_close(found, expected, rtol=0, atol=relative * float(expected.abs().max()))


def test_an_exported_file_computes_its_own_network(artefact: Path, network: Network, tmp_path: Path) -> None:
    made = resnext.export(artefact, "torch", tmp_path / "model.pt2").path
    entrant, manifest = open_file(made, has_same_weights=True)
    assert manifest.architecture == network.architecture
    assert (entrant.name, entrant.precision, entrant.file) == (f"resnext {made}", "fp32", made)
    workload = Workload(build(network.architecture).eval(), torch.rand(2, 3, SIZE, SIZE))
    expected = module.answer(network, workload.example)
    torch.testing.assert_close(entrant.make(workload)(), expected, rtol=0, atol=1e-4)


@pytest.mark.parametrize("name", ["a.onnx", "b/a.XML", "~/a.pt2"])
def test_a_path_tells_whether_it_is_of_an_exported_file(name: str) -> None:
    assert is_exported(name)
    assert not is_exported("resnext50_32x4d")
    assert not is_exported("a.safetensors")
