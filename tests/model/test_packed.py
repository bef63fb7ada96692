from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from resnext.model.packed import pack, pack_weight, unpack, unpack_weight

RelativeError = Callable[[Tensor, Tensor], float]


def divisors(number: int) -> list[int]:
    return [divisor for divisor in range(1, number + 1) if number % divisor == 0]


@st.composite
def convolutions(draw: st.DrawFn) -> nn.Conv2d:
    groups = draw(st.sampled_from([1, 2, 3, 4, 6, 8, 32]))
    torch.manual_seed(draw(st.integers(0, 1_000)))
    conv = nn.Conv2d(
        groups * draw(st.integers(1, 3)),
        groups * draw(st.integers(1, 3)),
        draw(st.sampled_from([(1, 1), (3, 3), (1, 3)])),
        stride=draw(st.sampled_from([(1, 1), (2, 2), (2, 1)])),
        padding=draw(st.integers(0, 1)),
        dilation=draw(st.integers(1, 2)),
        groups=groups,
        bias=draw(st.booleans()),
        padding_mode=draw(st.sampled_from(["zeros", "reflect"])),
    )
    layout = draw(st.sampled_from([torch.contiguous_format, torch.channels_last]))
    return conv.double().to(memory_format=layout)


def maps_for(conv: nn.Conv2d) -> Tensor:
    return torch.randn(2, conv.in_channels, 9, 7, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


@given(conv=convolutions(), data=st.data())
def test_a_packed_convolution_computes_the_same(
    conv: nn.Conv2d, data: st.DataObject, relative_error: RelativeError
) -> None:
    merged = data.draw(st.sampled_from(divisors(conv.groups)))
    packed = pack(conv, merged)
    assert packed.groups == conv.groups // merged
    assert packed.weight.shape[1] == conv.in_channels // packed.groups
    assert relative_error(packed(maps_for(conv)), conv(maps_for(conv))) <= 1e-12


@given(conv=convolutions(), data=st.data())
def test_there_and_back_nothing_has_changed(conv: nn.Conv2d, data: st.DataObject) -> None:
    merged = data.draw(st.sampled_from(divisors(conv.groups)))
    back = unpack(pack(conv, merged), merged)
    assert repr(back) == repr(conv)
    assert back.weight.is_contiguous() == conv.weight.is_contiguous()
    state = conv.state_dict()
    assert back.state_dict().keys() == state.keys()
    assert all(torch.equal(tensor, state[name]) for name, tensor in back.state_dict().items())


@given(conv=convolutions(), data=st.data())
def test_packing_in_two_steps_is_packing_in_one(conv: nn.Conv2d, data: st.DataObject) -> None:
    first = data.draw(st.sampled_from(divisors(conv.groups)))
    second = data.draw(st.sampled_from(divisors(conv.groups // first)))
    assert torch.equal(pack(pack(conv, first), second).weight, pack(conv, first * second).weight)


@given(conv=convolutions(), data=st.data())
def test_the_unpacked_gradient_is_that_of_the_grouped_weights(
    conv: nn.Conv2d, data: st.DataObject, relative_error: RelativeError
) -> None:
    merged = data.draw(st.sampled_from(divisors(conv.groups)))
    packed = pack(conv, merged)
    for layer in (conv, packed):
        layer(maps_for(conv)).square().sum().backward()
    grouped_gradient, gradient = (layer.weight.grad for layer in (conv, packed))
    assert grouped_gradient is not None
    assert gradient is not None
    assert relative_error(unpack_weight(gradient, packed.groups, merged), grouped_gradient) <= 1e-12


def test_gradients_flow_through_the_packing_of_weights() -> None:
    weight = torch.randn(8, 2, 3, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda value: pack_weight(value, 4, 2), (weight,))


def test_the_last_step_of_packing_is_the_dense_convolution() -> None:
    dense = pack(nn.Conv2d(6, 12, 3, groups=6), 6)
    assert (dense.groups, tuple(dense.weight.shape)) == (1, (12, 6, 3, 3))
    assert int(dense.weight.count_nonzero()) == 12 * 9


def test_a_packed_convolution_is_a_copy_in_the_same_mode_and_type() -> None:
    conv = nn.Conv2d(4, 4, 3, groups=4).to(torch.bfloat16).eval()
    conv.weight.requires_grad_(False)
    packed = pack(conv, 1)
    assert (packed.training, packed.weight.dtype, packed.weight.requires_grad) == (False, torch.bfloat16, False)
    packed.weight.zero_()
    assert conv.weight.count_nonzero() > 0


def test_what_was_not_packed_is_not_unpacked() -> None:
    packed = pack(nn.Conv2d(8, 8, 3, groups=4), 2)
    with torch.no_grad():
        packed.weight[0, 3, 1, 1] = 1e-30
    with pytest.raises(ValueError, match="1 weights between the groups are not zero"):
        unpack(packed, 2)


@pytest.mark.parametrize("merged", [0, -2, 3, 8])
def test_groups_are_merged_by_a_divisor_of_their_number(merged: int) -> None:
    with pytest.raises(ValueError, match=f"merged_groups = {merged}: give a divisor of 4"):
        pack(nn.Conv2d(8, 8, 3, groups=4), merged)


@pytest.mark.parametrize("merged", [0, 3, 8])
def test_groups_are_parted_by_a_divisor_of_their_channels(merged: int) -> None:
    with pytest.raises(ValueError, match=f"merged_groups = {merged}: 8 -> 4 channels in 1 groups cannot be parted"):
        unpack(nn.Conv2d(8, 4, 3), merged)


@pytest.mark.parametrize("change", [pack, unpack])
def test_a_subclass_is_refused(change: Any) -> None:
    class Standardised(nn.Conv2d):
        pass

    with pytest.raises(ValueError, match="a Standardised cannot be packed or unpacked"):
        change(Standardised(4, 4, 3, groups=2), 1)


@pytest.mark.parametrize("library", ["torchvision", "timm"])
def test_convolutions_of_other_libraries_pack(library: str, relative_error: RelativeError) -> None:
    if library == "torchvision":
        from torchvision.models.resnet import Bottleneck  # noqa: PLC0415

        conv = Bottleneck(16, 4, groups=4, base_width=64).conv2
    else:
        from timm.models.resnet import Bottleneck  # noqa: PLC0415

        conv = Bottleneck(16, 4, cardinality=4, base_width=64).conv2
    conv = conv.double()
    assert conv.groups == 4
    assert relative_error(pack(conv, 2)(maps_for(conv)), conv(maps_for(conv))) <= 1e-12
