from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from resnext.inference.layer_forms import DEFAULT, LaidOut, Variant, apply_forms
from resnext.model.forms import build
from resnext.model.network import Network
from resnext.spec.architecture import Architecture

SMALL = Architecture(stage_depths=(2, 1), cardinality=4, base_width=2, base_channels=4, stem="cifar", num_classes=3)
NAMES = ("stages.0.0.transform.conv", "stages.0.1.transform.conv", "stages.1.0.transform.conv")
VARIANTS = st.builds(Variant, st.sampled_from([1, 2, 4]), st.sampled_from(["channels_last", "contiguous"]))

RelativeError = Callable[[Tensor, Tensor], float]


def images() -> Tensor:
    drawn = torch.randn(2, 3, 16, 16, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    return drawn.contiguous(memory_format=torch.channels_last)


@pytest.fixture(scope="module")
def network(randomised: Callable[..., None]) -> Network:
    made = build(SMALL, generator=torch.Generator().manual_seed(0)).double().eval()
    randomised(made)
    return made.to(memory_format=torch.channels_last)


@given(chosen=st.dictionaries(st.sampled_from(NAMES), VARIANTS))
def test_a_network_computes_the_same_in_whatever_forms(
    chosen: dict[str, Variant], network: Network, relative_error: RelativeError
) -> None:
    changed = apply_forms(network, chosen)
    assert relative_error(changed(images()), network(images())) <= 1e-12


def test_only_the_layers_that_are_named_change_and_only_in_the_copy(network: Network) -> None:
    before = repr(network)
    changed = apply_forms(network, {NAMES[1]: Variant(4)})
    assert repr(network) == before
    groups = [changed.get_submodule(name).groups for name in NAMES]
    assert groups == [4, 1, 4]
    assert {tensor.data_ptr() for tensor in changed.parameters()}.isdisjoint(
        tensor.data_ptr() for tensor in network.parameters()
    )


@pytest.mark.parametrize("layout", ["channels_last", "contiguous"])
def test_a_layer_computes_in_its_layout_and_hands_on_that_of_the_network(layout: Any) -> None:
    inside: list[Tensor] = []
    layer = Variant(2, layout).of(nn.Conv2d(8, 8, 3, groups=4))
    [conv] = [module for module in layer.modules() if isinstance(module, nn.Conv2d)]
    conv.register_forward_hook(lambda module, inputs, output: inside.extend([*inputs, module.weight, output]))
    given_maps = torch.randn(2, 8, 6, 6).contiguous(memory_format=torch.channels_last)
    assert layer(given_maps).is_contiguous(memory_format=torch.channels_last)
    assert [tensor.is_contiguous() for tensor in inside] == [layout == "contiguous"] * 3


@pytest.mark.parametrize("library", ["torchvision", "timm"])
def test_networks_of_other_libraries_take_other_forms(library: str, relative_error: RelativeError) -> None:
    if library == "torchvision":
        from torchvision.models import resnet  # noqa: PLC0415

        theirs = resnet.ResNet(resnet.Bottleneck, [1, 1, 1, 1], num_classes=3, groups=4, width_per_group=4)
    else:
        from timm.models import resnet  # noqa: PLC0415

        theirs = resnet.ResNet(resnet.Bottleneck, (1, 1, 1, 1), num_classes=3, cardinality=4, base_width=4)
    theirs = theirs.double().eval()
    changed = apply_forms(theirs, {"layer1.0.conv2": Variant(2, "contiguous"), "layer4.0.conv2": Variant(4)})
    assert changed.get_submodule("layer4.0.conv2").groups == 1
    assert relative_error(changed(images()), theirs(images())) <= 1e-12


def test_folded_batch_norm_stays_folded(network: Network, relative_error: RelativeError) -> None:
    pair: Any = network.get_submodule("stages.0.0.transform")
    folded = nn.Sequential(nn.utils.fuse_conv_bn_eval(pair.conv, pair.norm))
    maps = torch.randn(2, 8, 6, 6, dtype=torch.float64)
    changed = apply_forms(folded, {"0": Variant(4)})
    assert relative_error(changed(maps), pair(maps)) <= 1e-12


@pytest.mark.parametrize("name", ["stages.9.0.transform.conv", "stages.0.0.transform.norm", "head", ""])
def test_a_name_that_is_no_convolution_is_refused(network: Network, name: str) -> None:
    with pytest.raises(ValueError, match=f"'{name}' is no convolution of this network"):
        apply_forms(network, {name: DEFAULT})


def test_groups_that_cannot_be_merged_so_are_refused_by_the_layers_name(network: Network) -> None:
    with pytest.raises(ValueError, match=r"stages\.0\.0\.transform\.conv: merged_groups = 3: give a divisor of 4"):
        apply_forms(network, {NAMES[0]: Variant(3)})


@pytest.mark.parametrize(("merged", "form"), [(1, "grouped"), (2, "packed by 2"), (4, "packed by 4"), (8, "dense")])
def test_forms_have_names(merged: int, form: str) -> None:
    assert Variant(merged).form(8) == form


def test_a_map_that_lies_right_is_handed_on_without_a_copy() -> None:
    maps = torch.randn(2, 8, 6, 6)
    assert LaidOut(torch.contiguous_format)(maps) is maps
