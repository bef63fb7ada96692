from collections.abc import Callable, Iterator
from copy import deepcopy
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks

from resnext.kernels.norm import Norm
from resnext.kernels.norm_conv import conv_norm, norm_relu_conv, norm_relu_conv_norm, norm_relu_pool

CHANNELS = 6
Fused = Callable[[Tensor, Any], Tensor]


def norm_of(module: Any) -> Norm:
    running = module.get_buffer("running_mean"), module.get_buffer("running_var")
    return Norm(
        weight=module.weight,
        bias=module.bias,
        running_mean=running[0],
        running_var=running[1],
        momentum=0.1,
        eps=module.eps,
    )


CHAINS: dict[str, tuple[tuple[str, ...], Fused]] = {
    "norm_relu_conv": (("first", "relu", "conv"), lambda x, m: norm_relu_conv(x, norm_of(m["first"]), m["conv"])),
    "norm_relu_conv_norm": (
        ("first", "relu", "conv", "last"),
        lambda x, m: norm_relu_conv_norm(x, norm_of(m["first"]), m["conv"], norm_of(m["last"])),
    ),
    "conv_norm": (("conv", "last"), lambda x, m: conv_norm(x, m["conv"], norm_of(m["last"]))),
    "norm_relu_pool": (("first", "relu", "pool"), lambda x, m: norm_relu_pool(x, norm_of(m["first"]), m["pool"])),
}
CONVOLUTIONS = {"pointwise": {"kernel_size": 1}, "grouped and strided": {"kernel_size": 3, "stride": 2, "groups": 2}}
CONVOLUTIONS["dilated"] = {"kernel_size": 3, "dilation": 2}


@pytest.fixture(autouse=True)
def seed() -> None:
    torch.manual_seed(0)


def modules(conv: str = "grouped and strided", dtype: torch.dtype = torch.float64) -> nn.ModuleDict:
    given = CONVOLUTIONS[conv]
    made = nn.ModuleDict(
        {
            "first": nn.BatchNorm2d(CHANNELS),
            "relu": nn.ReLU(inplace=True),
            "conv": nn.Conv2d(CHANNELS, 2 * CHANNELS, padding=given["kernel_size"] // 2, bias=False, **given),  # type: ignore[arg-type]
            "pool": nn.MaxPool2d(3, 2, padding=1),
            "last": nn.BatchNorm2d(2 * CHANNELS),
        }
    )
    for tensor in (*made.parameters(), *made.buffers()):
        if tensor.is_floating_point():
            nn.init.uniform_(tensor, 0.5, 1.5)
    return made.to(dtype).to(memory_format=torch.channels_last)


def maps(dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(5, CHANNELS, 7, 9, dtype=dtype).contiguous(memory_format=torch.channels_last)


def run(compute: Callable[[Tensor], Tensor], x: Tensor, parts: nn.Module) -> dict[str, Tensor | None]:
    """Return the answer, all gradients and all statistics."""
    x = x.clone().requires_grad_()
    y = compute(x)
    (y.float() if y.dtype == torch.bfloat16 else y).square().sin().sum().backward()
    gradients = {f"gradient of {name}": parameter.grad for name, parameter in parts.named_parameters()}
    return {"y": y.detach(), "gradient of x": x.grad, **gradients, **dict(parts.named_buffers())}


def plain(x: Tensor, parts: nn.ModuleDict, names: tuple[str, ...]) -> Tensor:
    for name in names:
        x = parts[name](x)
    return x


def both(name: str, parts: nn.ModuleDict, x: Tensor) -> Iterator[tuple[str, Tensor | None, Tensor | None]]:
    names, fused = CHAINS[name]
    own, other = deepcopy(parts), deepcopy(parts)
    found = run(lambda x: fused(x, own), x, own)
    expected = run(lambda x: plain(x, other, names), x, other)
    for key, value in expected.items():
        if not key.endswith("num_batches_tracked"):  # whoever calls counts
            yield key, found[key], value


@pytest.mark.parametrize("conv", CONVOLUTIONS)
@pytest.mark.parametrize("name", CHAINS)
def test_answers_gradients_and_statistics_are_those_of_the_plain_modules(name: str, conv: str) -> None:
    for key, found, expected in both(name, modules(conv), maps()):
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-9, msg=partial("{}: {}".format, key))


@pytest.mark.parametrize("frozen", [("conv",), ("first", "last"), ("first", "conv", "last")])
@pytest.mark.parametrize("name", CHAINS)
def test_frozen_parts_get_no_gradient_and_the_others_theirs(name: str, frozen: tuple[str, ...]) -> None:
    parts = modules()
    for part in frozen:
        parts[part].requires_grad_(False)
    for key, found, expected in both(name, parts, maps()):
        assert (found is None) == (expected is None), key
        if found is not None:
            torch.testing.assert_close(found, expected, rtol=0, atol=1e-9)


@pytest.mark.parametrize("name", CHAINS)
def test_parts_learn_where_what_comes_in_does_not(name: str) -> None:
    names, fused = CHAINS[name]
    own, other, x = modules(), modules(), maps()
    other.load_state_dict(own.state_dict())
    fused(x, own).square().sum().backward()
    plain(x, other, names).square().sum().backward()
    for parameter, expected in zip(own.parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(parameter.grad, expected.grad, rtol=0, atol=1e-9)


@pytest.mark.parametrize("name", CHAINS)
def test_under_autocast_it_computes_in_the_same_types(name: str) -> None:
    parts, x = modules(dtype=torch.float32), maps(torch.float32)
    with torch.autocast("cpu", torch.bfloat16):
        for key, found, expected in both(name, parts, x):
            assert found is not None or expected is None, key
            if found is not None and expected is not None:
                assert found.dtype == expected.dtype, key
                assert (found - expected).norm() <= 0.02 * expected.norm(), key


@pytest.mark.parametrize("name", CHAINS)
def test_of_maps_the_input_alone_is_kept(name: str) -> None:
    parts = modules()
    x = maps().requires_grad_()
    kept = []
    with saved_tensors_hooks(lambda tensor: kept.append(tensor) or tensor, lambda tensor: tensor):  # type: ignore[func-returns-value]
        CHAINS[name][1](x, parts)
    kernel = parts["conv"].get_parameter("weight")
    assert {tensor.data_ptr() for tensor in kept if tensor.ndim == 4} - {kernel.data_ptr()} == {x.data_ptr()}


@pytest.mark.parametrize("name", CHAINS)
def test_parameters_changed_before_the_backward_pass_are_refused(name: str) -> None:
    parts = modules()
    y = CHAINS[name][1](maps().requires_grad_(), parts)
    with torch.no_grad():
        parts[CHAINS[name][0][0]].get_parameter("weight").add_(1.0)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        y.sum().backward()


@pytest.mark.parametrize(
    "conv",
    [
        nn.Conv2d(CHANNELS, 4, 1),
        nn.Conv2d(CHANNELS, 4, 3, padding=1, padding_mode="reflect", bias=False),
        nn.Conv2d(CHANNELS, 4, 3, padding="same", bias=False),
    ],
)
def test_a_convolution_that_cannot_be_fused_is_refused(conv: nn.Conv2d) -> None:
    with pytest.raises(ValueError, match="without bias, padded by a number of zeros"):
        norm_relu_conv(maps(torch.float32), norm_of(nn.BatchNorm2d(CHANNELS)), conv)


def test_a_single_value_has_no_variance() -> None:
    norm, conv = nn.BatchNorm2d(CHANNELS), nn.Conv2d(CHANNELS, 4, 1, bias=False)
    with pytest.raises(ValueError, match="more than 1 value a channel"):
        norm_relu_conv(torch.ones(1, CHANNELS, 1, 1), norm_of(norm), conv)
