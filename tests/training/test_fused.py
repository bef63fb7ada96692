import ctypes
import subprocess
import sys
from collections.abc import Callable
from copy import deepcopy
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks

from resnext.model.forms import build
from resnext.model.ghost_norm import use_ghost_norm
from resnext.model.network import Network
from resnext.spec.architecture import architecture
from resnext.training.fused import Fused
from resnext.training.heap import reserve
from resnext.training.machine import Machine
from resnext.training.run import Run

NETWORKS: dict[str, tuple[str, dict[str, Any]]] = {
    "bottlenecks": ("resnext26_2x4d", {"base_channels": 8}),
    "basic blocks": ("resnet18", {"base_channels": 8}),
    "small images": ("resnext20_2x4d", {"base_channels": 8, "shortcut": "A"}),
}


@pytest.fixture
def network(randomised: Callable[..., None]) -> Callable[..., Network]:
    """Make a small network in double precision, with weights and statistics of its own, that learns."""

    def make(name: str = "bottlenecks", form: Any = "grouped") -> Network:
        called, fields = NETWORKS[name]
        made = build(architecture(called, num_classes=3, **fields), form, torch.Generator().manual_seed(0))
        randomised(made)
        return made.double().to(memory_format=torch.channels_last).train()

    return make


def images(number: int = 6) -> Tensor:
    return torch.randn(number, 3, 32, 32, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def learnt(model: nn.Module, network: Network) -> dict[str, Tensor | None]:
    """Return the logits, the gradients of everything, and the statistics after one pass there and back."""
    x = images().requires_grad_()
    logits = model(x)
    logits.square().mean().backward()
    gradients = {f"gradient of {name}": parameter.grad for name, parameter in network.named_parameters()}
    return {"logits": logits.detach(), "gradient of images": x.grad, **gradients, **dict(network.named_buffers())}


def check_same(network: Network, *, saves_memory: bool) -> None:
    other = deepcopy(network)
    found = learnt(Fused(network, saves_memory=saves_memory), network)
    for name, expected in learnt(other, other).items():
        torch.testing.assert_close(found[name], expected, rtol=1e-9, atol=1e-9, msg=partial("{}: {}".format, name))


@pytest.mark.parametrize("saves_memory", [False, True])
@pytest.mark.parametrize("group", [None, 2, 3, 6])
@pytest.mark.parametrize("name", NETWORKS)
def test_a_fused_network_learns_what_the_plain_one_does(
    network: Callable[..., Network], name: str, group: int | None, saves_memory: bool
) -> None:
    plain = network(name)
    if group is not None:
        use_ghost_norm(plain, group)
    check_same(plain, saves_memory=saves_memory)


@pytest.mark.parametrize("form", ["aggregated", "concatenated"])
def test_blocks_of_other_forms_are_computed_as_they_are(network: Callable[..., Network], form: str) -> None:
    check_same(network(form=form), saves_memory=True)


def freeze_body(network: Network) -> None:
    network.requires_grad_(False).eval()
    network.head.requires_grad_(True).train()


def freeze_a_norm(network: Network) -> None:
    network.get_submodule("stages.1.0.expand.norm").eval()
    network.stem.norm.eval()


def freeze_weights(network: Network) -> None:
    network.stages[0].requires_grad_(False)
    network.get_submodule("stages.2.0.transform").requires_grad_(False)


@pytest.mark.parametrize("saves_memory", [False, True])
@pytest.mark.parametrize("freeze", [freeze_body, freeze_a_norm, freeze_weights, nn.Module.eval])
def test_frozen_parts_stay_as_in_the_plain_network(
    network: Callable[..., Network], freeze: Callable[[Network], object], saves_memory: bool
) -> None:
    partly = network()
    freeze(partly)
    check_same(partly, saves_memory=saves_memory)


def kept_values(model: nn.Module, network: Network) -> int:
    """Count the values of all maps that autograd keeps."""
    own = {tensor.data_ptr() for tensor in (*network.parameters(), *network.buffers())}
    kept: dict[int, int] = {}

    def keep(tensor: Tensor) -> Tensor:
        if tensor.ndim == 4 and tensor.data_ptr() not in own:
            kept[tensor.data_ptr()] = tensor.numel()
        return tensor

    with saved_tensors_hooks(keep, lambda tensor: tensor):
        model(images())
    return sum(kept.values())


def test_less_is_kept_and_still_less_to_save_memory(network: Callable[..., Network]) -> None:
    plain = network()
    whole = kept_values(plain, plain)
    fused, saving = (kept_values(Fused(plain, saves_memory=saves), plain) for saves in (False, True))
    assert fused < 0.8 * whole
    assert saving < 0.6 * whole


@pytest.mark.parametrize("way", ["fuses", "saves_memory"])
def test_a_fused_run_ends_with_the_weights_of_a_plain_one(train: Callable[..., Run], tmp_path: Path, way: str) -> None:
    ended = {}
    for name, asked in (("plain", {}), ("fused", {way: True})):
        run = train(tmp_path / name, machine={"precision": "fp64", "micro_batch_size": 4, **asked})
        list(run)
        run.finish()
        run.folder.release()
        ended[name] = run.state.tensors()
    assert ended["fused"].keys() == ended["plain"].keys()
    for name, tensor in ended["plain"].items():
        torch.testing.assert_close(ended["fused"][name], tensor, rtol=1e-7, atol=1e-9)


def test_a_fused_run_that_was_stopped_ends_as_if_it_never_had(train: Callable[..., Run], tmp_path: Path) -> None:
    ended = []
    for stops in ((99,), (2, 99)):
        for num_steps in stops:
            run = train(tmp_path / str(len(stops)), machine={"saves_memory": True})
            for _ in islice(run, num_steps):
                continue
            run.finish()
            run.folder.release()
        ended.append(run.state.tensors())
    assert all(torch.equal(ended[0][name], ended[1][name]) for name in ended[0])


def test_parameters_that_learn_get_room_for_gradients_and_momentum_and_the_others_none(
    network: Callable[..., Network],
) -> None:
    partly = network()
    freeze_body(partly)
    optimiser = torch.optim.SGD(partly.parameters(), lr=1.0, momentum=0.9)
    reserve(optimiser)
    learns = {name for name, parameter in partly.named_parameters() if parameter.grad is not None}
    assert learns == {"head.weight", "head.bias"}
    assert set(optimiser.state) == set(partly.head.parameters())


@pytest.mark.skipif(sys.platform != "linux" or not hasattr(ctypes.CDLL(None), "mallopt"), reason="needs glibc")
def test_a_process_that_fuses_on_the_cpu_keeps_what_it_frees_until_it_gives_it_back() -> None:
    program = """
from resnext.training.heap import give_back_freed_memory
from resnext.training.machine import Machine
from resnext.training.memory import resident_bytes
import torch

Machine(device="cpu", fuses=True).settle()
before = resident_bytes()
maps = [torch.ones(10_000_000) for _ in range(3)]
del maps
print(resident_bytes() - before > 100_000_000)
give_back_freed_memory()
print(resident_bytes() - before > 100_000_000)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["True", "False"]


@pytest.mark.parametrize("way", ["fuses", "saves_memory"])
def test_a_compiled_network_is_not_fused_as_well(way: str) -> None:
    with pytest.raises(ValueError, match=f"{way} = True: the compiler fuses by itself"):
        Machine(compiles=True, **{way: True})  # type: ignore[arg-type]
