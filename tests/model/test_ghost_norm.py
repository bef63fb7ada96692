from collections.abc import Callable
from copy import deepcopy
from itertools import pairwise

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from resnext.model.forms import build, convert
from resnext.model.ghost_norm import GhostNorm, ghost_norms, use_ghost_norm
from resnext.model.network import Network
from resnext.spec.architecture import Architecture
from resnext.spec.plan import Form

SMALL = Architecture(stage_depths=(1, 1), cardinality=2, base_width=2, base_channels=4, stem="cifar", num_classes=3)
CHANNELS, GROUP, DEVICES = 5, 16, 4
FORMS: tuple[Form, ...] = ("aggregated", "concatenated", "grouped")


def maps(number: int, seed: int = 0, size: int = 3) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    drawn = torch.randn(number, CHANNELS, size, size, generator=generator, dtype=torch.float64)
    return 3 * drawn + torch.arange(number, dtype=torch.float64).view(-1, 1, 1, 1) / 7


def images(number: int, seed: int = 0) -> Tensor:
    return torch.randn(number, 3, 8, 8, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.fixture
def norm(randomised: Callable[..., None]) -> nn.BatchNorm2d:
    """Return a batch norm as a network of the paper has it, with scale, shift and statistics of its own."""
    layer = nn.BatchNorm2d(CHANNELS).double()
    randomised(nn.Sequential(layer))
    return layer


@pytest.fixture(scope="module")
def network(randomised: Callable[..., None]) -> Network:
    net = build(SMALL, generator=torch.Generator().manual_seed(0)).double()
    randomised(net)
    return net


def ghost_of(norm: nn.BatchNorm2d, num_images: int = GROUP) -> GhostNorm:
    ghost = GhostNorm(CHANNELS, num_images).double()
    ghost.load_state_dict(norm.state_dict())
    return ghost.train(norm.training)


def ghosted(network: Network, num_images: int, form: Form = "grouped") -> Network:
    other = convert(network, form)
    use_ghost_norm(other, num_images)
    return other


def fold(network: nn.Module) -> None:
    for norm in ghost_norms(network):
        norm.fold()


def backward(module: nn.Module, x: Tensor) -> tuple[Tensor, Tensor]:
    """Return output and input gradient of a loss that weighs every output differently."""
    x = x.clone().requires_grad_()
    output = module(x)
    (output * torch.linspace(-1, 1, output.numel(), dtype=output.dtype).view_as(output)).sum().backward()
    assert x.grad is not None
    return output.detach(), x.grad


def is_close(actual: Tensor, expected: Tensor, rel: float = 1e-12) -> bool:
    assert actual.shape == expected.shape
    return bool((actual - expected).norm() <= rel * expected.norm())


def test_a_batch_in_groups_is_normalised_as_by_a_device_for_each_group(norm: nn.BatchNorm2d) -> None:
    x = maps(DEVICES * GROUP)
    ghost, devices = ghost_of(norm), [deepcopy(norm) for _ in range(DEVICES)]
    output, gradient = backward(ghost, x)
    scale = torch.linspace(-1, 1, x.numel(), dtype=x.dtype).view_as(x)
    outputs, gradients = [], []
    for device, part, weight in zip(devices, x.chunk(DEVICES), scale.chunk(DEVICES), strict=True):
        own = part.clone().requires_grad_()
        made = device(own)
        (made * weight).sum().backward()
        outputs.append(made.detach())
        gradients.append(own.grad)
    assert is_close(output, torch.cat(outputs))
    assert is_close(gradient, torch.cat([grad for grad in gradients if grad is not None]))
    for name, parameter in ghost.named_parameters():
        total = sum(device.get_parameter(name).grad for device in devices)  # type: ignore[misc]
        assert isinstance(total, Tensor) and parameter.grad is not None
        assert is_close(parameter.grad, total)
    ghost.fold()
    for name in ("running_mean", "running_var"):
        mean = torch.stack([device.get_buffer(name) for device in devices]).mean(dim=0)
        assert is_close(ghost.get_buffer(name), mean)
        assert not is_close(ghost.get_buffer(name), norm.get_buffer(name), rel=1e-3)


def test_statistics_of_groups_are_not_those_of_the_whole_batch(norm: nn.BatchNorm2d) -> None:
    x = maps(DEVICES * GROUP)
    assert not is_close(ghost_of(norm)(x), norm(x), rel=1e-2)
    assert is_close(ghost_of(norm, DEVICES * GROUP)(x), norm(x))


def test_evaluation_is_that_of_a_plain_batch_norm(norm: nn.BatchNorm2d) -> None:
    x = maps(7)
    ghost = ghost_of(norm.eval())
    assert torch.equal(ghost(x), norm(x))
    assert is_close(ghost(x), torch.cat([ghost(image[None]) for image in x]))
    assert ghost.get_buffer("num_seen").item() == 0


@given(cuts=st.sets(st.integers(1, 7), max_size=7), num_steps=st.integers(1, 3))
def test_parts_of_whole_groups_give_what_the_whole_batch_gives(cuts: set[int], num_steps: int) -> None:
    whole, parted = (GhostNorm(CHANNELS, 4).double() for _ in range(2))
    ends = [0, *sorted(4 * cut for cut in cuts), 32]
    for step in range(num_steps):
        x = maps(32, seed=step)
        expected = whole(x)
        parts = [parted(x[start:end]) for start, end in pairwise(ends)]
        assert is_close(torch.cat(parts), expected)
        whole.fold()
        parted.fold()
    for name, tensor in whole.state_dict().items():
        assert is_close(parted.state_dict()[name].double(), tensor.double()), name
    assert parted.get_buffer("num_batches_tracked").item() == num_steps


@given(number=st.integers(2, 40), group=st.integers(2, 9))
def test_a_batch_that_is_no_multiple_is_cut_into_groups_as_equal_as_can_be(number: int, group: int) -> None:
    ghost, x = GhostNorm(CHANNELS, group).double(), maps(number)
    output = ghost(x)
    num_groups = max(1, number // group)
    assert ghost.get_buffer("num_seen").item() == num_groups
    sizes = sorted(len(part) for part in x.tensor_split(num_groups))
    assert sizes[-1] - sizes[0] <= 1
    assert number < group or sizes[0] >= group
    plain = [nn.BatchNorm2d(CHANNELS).double()(part) for part in x.tensor_split(num_groups)]
    assert is_close(output, torch.cat(plain))


def test_what_is_forgotten_leaves_no_trace(norm: nn.BatchNorm2d) -> None:
    ghost, other = ghost_of(norm), ghost_of(norm)
    ghost(maps(48, seed=1))
    ghost.forget()
    for layer in (ghost, other):
        layer(maps(32, seed=2))
        layer.fold()
    assert all(torch.equal(ghost.state_dict()[name], tensor) for name, tensor in other.state_dict().items())


def test_a_forward_pass_moves_nothing_until_it_is_folded(norm: nn.BatchNorm2d) -> None:
    ghost = ghost_of(norm)
    ghost(maps(32))
    assert all(torch.equal(ghost.state_dict()[name], tensor) for name, tensor in norm.state_dict().items())
    ghost.fold()
    assert ghost.get_buffer("num_batches_tracked").item() == norm.get_buffer("num_batches_tracked").item() + 1


@pytest.mark.parametrize("form", FORMS)
def test_a_network_keeps_its_names_its_weights_and_its_answers(network: Network, form: Form) -> None:
    plain, ghost = convert(network, form).eval(), ghosted(network, 4, form).eval()
    assert list(ghost.state_dict()) == list(plain.state_dict())
    assert [name for name, _ in ghost.named_parameters()] == [name for name, _ in plain.named_parameters()]
    assert all(torch.equal(ghost.state_dict()[name], tensor) for name, tensor in plain.state_dict().items())
    assert torch.equal(ghost(images(6)), plain(images(6)))
    norms = [module for module in ghost.modules() if isinstance(module, nn.BatchNorm2d)]
    assert norms == ghost_norms(ghost)
    assert len(norms) == len([module for module in plain.modules() if isinstance(module, nn.BatchNorm2d)])
    assert not any(norm.training for norm in norms)
    assert all(parameter.requires_grad for parameter in ghost.parameters())


@pytest.mark.parametrize("form", FORMS)
def test_a_network_in_any_form_trains_as_replicas_do_that_see_a_group_each(network: Network, form: Form) -> None:
    x = images(12)
    ghost, replicas = ghosted(network, 4, form).train(), [convert(network, form).train() for _ in range(3)]
    ghost(x).square().sum().backward()
    fold(ghost)
    for replica, part in zip(replicas, x.chunk(3), strict=True):
        replica(part).square().sum().backward()
    for name, parameter in ghost.named_parameters():
        total = sum(replica.get_parameter(name).grad for replica in replicas)  # type: ignore[misc]
        assert isinstance(total, Tensor) and parameter.grad is not None
        assert is_close(parameter.grad, total, rel=1e-10), name
    for name, buffer in ghost.named_buffers():
        if name.endswith(("running_mean", "running_var")):
            mean = torch.stack([replica.get_buffer(name) for replica in replicas]).mean(dim=0)
            assert is_close(buffer, mean), name
        elif name.endswith("num_batches_tracked"):
            assert buffer.item() == network.stem.norm.get_buffer("num_batches_tracked").item() + 1


def test_groups_make_the_three_forms_no_less_equal(network: Network) -> None:
    nets = {form: ghosted(network, 4, form).train() for form in FORMS}
    outputs = {form: net(images(12)) for form, net in nets.items()}
    for net in nets.values():
        fold(net)
    expected = nets["grouped"].state_dict()
    for form in ("aggregated", "concatenated"):
        assert is_close(outputs[form], outputs["grouped"])
        back = convert(nets[form], "grouped").state_dict()
        assert back.keys() == expected.keys()
        assert all(is_close(back[name].double(), tensor.double()) for name, tensor in expected.items())


def test_a_network_with_groups_has_the_type_and_place_of_the_one_it_was() -> None:
    net = build(SMALL).double().to(memory_format=torch.channels_last)
    use_ghost_norm(net, 2)
    assert {tensor.dtype for norm in ghost_norms(net) for tensor in norm.parameters()} == {torch.float64}
    assert {norm.get_buffer("seen").dtype for norm in ghost_norms(net)} == {torch.float64}
    assert {norm.num_images for norm in ghost_norms(net)} == {2}
