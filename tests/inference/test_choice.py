import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

import resnext
from resnext.inference import choice as engine_choice
from resnext.inference.choice import Choice, choose
from resnext.inference.chosen_forms import remember_forms
from resnext.inference.engines import Ready, installed
from resnext.inference.layer_forms import Variant
from resnext.inference.remembered import Memory


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    yield


@pytest.fixture(scope="module")
def network() -> nn.Module:
    return resnext.build("resnext11_2x2d").eval()


def images(count: int) -> Tensor:
    return torch.randn(count, 3, 32, 32, generator=torch.Generator().manual_seed(0))


def test_what_is_chosen_is_the_quickest_of_all_that_are_installed(network: nn.Module) -> None:
    choice, engine = choose(Ready(network, images(2)))
    assert set(choice.milliseconds) == set(installed(torch.device("cpu")))
    assert choice.engine == engine.name == min(choice.milliseconds, key=lambda name: choice.milliseconds[name])


@pytest.fixture
def only_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave out the engines that take seconds to make."""
    monkeypatch.setattr(engine_choice, "installed", lambda _: ("torch",))


@pytest.mark.usefixtures("only_torch")
def test_a_choice_is_remembered_for_the_same_network_batch_and_precision_and_made_anew_for_others(
    network: nn.Module,
) -> None:
    first, _ = choose(Ready(network, images(2)))
    again, engine = choose(Ready(network, images(2)))
    assert (again.engine, again.is_remembered, engine.name) == (first.engine, True, first.engine)
    assert not choose(Ready(network, images(3)))[0].is_remembered
    assert not choose(Ready(resnext.build("resnext11_1x4d"), images(2)))[0].is_remembered


@pytest.mark.usefixtures("only_torch")
def test_a_choice_is_made_anew_once_layers_take_other_forms(network: nn.Module) -> None:
    ready = Ready(network, images(2))
    choose(ready)
    name = next(name for name, module in ready.network.named_modules() if getattr(module, "groups", 1) > 1)
    remember_forms(ready.network, ready.example, "openvino", "fp32", {name: Variant(2, "channels_last")})
    assert not choose(ready)[0].is_remembered
    assert choose(ready)[0].is_remembered


@pytest.mark.usefixtures("only_torch")
def test_an_accelerated_module_says_which_engine_was_chosen_and_why(network: nn.Module) -> None:
    fast = resnext.accelerate(network, images(2))
    assert (fast.name, fast.precision) == ("torch", "fp32")
    assert fast.choice is not None and fast.choice.words() == "engine torch, the only one installed here"
    assert fast(images(2)).shape == (2, 10)
    assert resnext.accelerate(network, images(2), engine="torch").choice is None


@pytest.mark.usefixtures("only_torch")
@pytest.mark.parametrize("damaged", ["", "[]", '{"engines": 1}', "null", '{"KEY": {"engine": "steam"}}', '{"KEY": 1}'])
def test_a_damaged_memory_is_measured_anew_and_mended(network: nn.Module, damaged: str) -> None:
    ready = Ready(network, images(2))
    choose(ready)
    [key] = json.loads(Memory("engines").path().read_text())
    Memory("engines").path().write_text(damaged.replace("KEY", key))
    assert not choose(ready)[0].is_remembered
    assert choose(ready)[0].is_remembered


@pytest.mark.usefixtures("only_torch")
def test_a_memory_that_cannot_be_written_is_done_without(
    network: nn.Module, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert choose(Ready(network, images(2)))[1](images(2)).shape == (2, 10)


def test_a_choice_says_what_it_is_made_of() -> None:
    times = {"torch": 98.04, "openvino": 41.0, "onnxruntime": 46.26}
    choice = Choice(engine="openvino", milliseconds=times)  # type: ignore[arg-type]
    assert choice.words() == "engine openvino: openvino 41 ms, onnxruntime 46.3 ms, torch 98 ms an image"
    remembered = Choice(engine="openvino", milliseconds=times, is_remembered=True)  # type: ignore[arg-type]
    assert remembered.words() == choice.words() + ", measured earlier"
    assert Choice(engine="torch", milliseconds={}).words() == "engine torch, the only one installed here"
