from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from resnext.model.forms import skeleton
from resnext.spec.architecture import Architecture, architecture
from resnext.spec.complexity import Complexity, complexity, solve_width, template_weights
from resnext.spec.value import SpecError

# Parameters and multiply-accumulates at 224 pixels (CIFAR: 32, 10 classes), without biases.
EXACT = [
    ("resnet50", 25_557_032, 4_089_184_256),
    ("resnext50_32x4d", 25_028_904, 4_230_479_872),
    ("resnet101", 44_549_160, 7_801_405_440),
    ("resnext101_32x4d", 44_177_704, 7_969_996_800),
    ("resnext101_64x4d", 83_455_272, 15_460_270_080),
    ("resnext101_32x8d", 88_791_336, 16_414_015_488),
    ("resnext29_8x64d", 34_426_698, 5_387_266_048),
    ("resnext29_16x64d", 68_155_210, 10_688_866_304),
]

# Millions of parameters, billions of multiply-accumulates, digits after the point.
ROUNDED = [
    ("resnext50_2x40d", 25.425, 4.125, 3),
    ("resnext50_4x24d", 25.293, 4.160, 3),
    ("resnext50_8x14d", 25.603, 4.267, 3),
    ("resnext101_2x40d", 44.456, 7.844, 3),
    ("resnext101_4x24d", 44.363, 7.886, 3),
    ("resnext101_8x14d", 45.104, 8.077, 3),
    ("resnet200", 64.67, 15.01, 2),
    ("resnet101_1x100d", 85.61, 15.27, 2),
    ("resnext101_2x64d", 84.20, 15.12, 2),
    ("resnext152_32x4d", 59.95, 11.71, 2),
]

# Table 2, with the exact number of weights of the conv2 template.
TABLE_2 = [(1, 64, 69_632), (2, 40, 69_760), (4, 24, 69_888), (8, 14, 71_456), (32, 4, 70_144)]

CIFAR_SMALL = [(1, 32), (2, 20), (4, 12), (8, 7), (32, 2)]

SHAPE = ["in_channels", "out_channels", "kernel_size", "stride", "groups", "height", "width"]
COLUMNS = ["name", "kind", *SHAPE, "params", "macs", "activations"]


def counted(value: Architecture, size: tuple[int, int]) -> tuple[int, int, int]:
    """Count parameters, multiply-accumulates and convolution outputs of the built network, without memory."""
    network = skeleton(value).eval()
    written: list[int] = []

    def record(_: nn.Module, __: Any, output: Tensor) -> None:
        written.append(output.numel())

    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            module.register_forward_hook(record)
    with FlopCounterMode(display=False) as counter:
        network(torch.empty(1, value.input_channels, *size, device="meta"))
    return sum(p.numel() for p in network.parameters()), counter.get_total_flops() // 2, sum(written)


def table(cost: Complexity) -> str:
    rows = [COLUMNS]
    for layer in cost.layers:
        height, width = layer.output_size
        shape = [layer.in_channels, layer.out_channels, layer.kernel_size, layer.stride, layer.groups]
        numbers = [*shape, height, width, layer.params, layer.macs, layer.activations]
        rows.append([layer.name, layer.kind, *(str(number) for number in numbers)])
    totals = [str(number) for number in (cost.params, cost.macs, cost.activations)]
    rows.append(["total", *["-"] * (len(COLUMNS) - 4), *totals])
    widths = [max(len(row[column]) for row in rows) for column in range(len(COLUMNS))]
    lines = ("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in rows)
    return "".join(f"{line.rstrip()}\n" for line in lines)


@st.composite
def small_nets(draw: st.DrawFn) -> Architecture:
    block = draw(st.sampled_from(["bottleneck", "basic"]))
    return Architecture(
        stage_depths=tuple(draw(st.lists(st.integers(1, 2), min_size=1, max_size=4))),
        cardinality=1 if block == "basic" else draw(st.sampled_from([1, 2, 3, 8])),
        base_width=draw(st.integers(1, 4)),
        base_channels=draw(st.integers(1, 6)),
        block=block,
        stem=draw(st.sampled_from(["imagenet", "cifar"])),
        shortcut=draw(st.sampled_from(["A", "B", "C", "none"])),
        input_channels=draw(st.sampled_from([1, 3, 5])),
        num_classes=draw(st.integers(1, 12)),
    )


@pytest.mark.parametrize(("name", "params", "macs"), EXACT)
def test_counts_are_the_published_ones(name: str, params: int, macs: int) -> None:
    cost = complexity(name)
    assert (cost.params, cost.macs) == (params, macs)


@pytest.mark.parametrize(("name", "params", "macs", "digits"), ROUNDED)
def test_counts_round_to_the_published_ones(name: str, params: float, macs: float, digits: int) -> None:
    cost = complexity(name)
    assert (round(cost.params / 1e6, digits), round(cost.macs / 1e9, digits)) == (params, macs)


@pytest.mark.parametrize("name", [row[0] for row in (*EXACT, *ROUNDED)])
def test_counts_are_those_of_the_built_network(name: str) -> None:
    cost = complexity(name)
    assert (cost.params, cost.macs, cost.activations) == counted(architecture(name), cost.image_size)


@pytest.mark.parametrize("name", ["resnext50_32x4d", "resnext29_8x64d"])
def test_layer_table(name: str, golden: Callable[[str, str], None]) -> None:
    golden(f"complexity_{name}.txt", table(complexity(name)))


@given(value=small_nets(), size=st.tuples(st.integers(32, 100), st.integers(32, 100)))
def test_counts_agree_with_torch_at_any_image_size(value: Architecture, size: tuple[int, int]) -> None:
    cost = complexity(value, size)
    assert (cost.params, cost.macs, cost.activations) == counted(value, size)


@pytest.mark.parametrize("stem", ["imagenet", "cifar"])
@pytest.mark.parametrize("shortcut", ["A", "B", "C", "none"])
@pytest.mark.parametrize("size", [(32, 32), (33, 47), (65, 64)])
def test_counts_agree_with_torch_for_every_stem_and_shortcut(stem: str, shortcut: str, size: tuple[int, int]) -> None:
    value = architecture("resnext26_8x4d", stem=stem, shortcut=shortcut, base_channels=8)
    cost = complexity(value, size)
    assert (cost.params, cost.macs, cost.activations) == counted(value, size)


def test_layers_are_those_of_the_network_in_its_own_names() -> None:
    value = architecture("resnext29_8x64d")
    modules = dict(skeleton(value).named_modules())
    for layer in complexity(value).layers:
        conv = modules[layer.name if layer.kind == "linear" else f"{layer.name}.conv"]
        assert isinstance(conv, nn.Linear if layer.kind == "linear" else nn.Conv2d)
    assert sum(isinstance(module, nn.Conv2d | nn.Linear) for module in modules.values()) == len(
        complexity(value).layers
    )


def test_image_size_is_a_side_or_height_and_width() -> None:
    assert complexity("resnet50", 64) == complexity(architecture("resnet50"), (64, 64))
    assert complexity("resnet50", (64, 96)).layers[0].output_size == (32, 48)
    assert complexity("resnet50").image_size == (224, 224)
    assert complexity("resnext29_8x64d").image_size == (32, 32)


@pytest.mark.parametrize("size", [0, -1, (32, 0)])
def test_image_without_pixels_is_refused(size: int | tuple[int, int]) -> None:
    with pytest.raises(SpecError, match=r"image_size = .*at least 1 pixel"):
        complexity("resnet50", size)


@pytest.mark.parametrize(("cardinality", "width", "weights"), TABLE_2)
def test_table_2_follows_from_equal_complexity(cardinality: int, width: int, weights: int) -> None:
    assert solve_width(cardinality=cardinality, like="resnet50") == width
    assert template_weights(architecture("resnet50", cardinality=cardinality, base_width=width)) == weights


@pytest.mark.parametrize("name", ["resnet101", "resnet152", "resnet200"])
def test_width_depends_on_the_template_not_on_the_depth(name: str) -> None:
    assert solve_width(cardinality=32, like=name) == 4


@pytest.mark.parametrize(("cardinality", "width"), CIFAR_SMALL)
def test_five_settings_of_the_small_cifar_net(cardinality: int, width: int) -> None:
    like = architecture("resnet29", base_channels=32, base_width=32)
    assert solve_width(cardinality=cardinality, like=like) == width


@given(
    cardinality=st.integers(1, 128),
    like_width=st.integers(1, 128),
    base_channels=st.integers(1, 64),
    like_cardinality=st.sampled_from([1, 2, 8, 32]),
)
def test_no_width_is_nearer_and_no_smaller_one_as_near(
    cardinality: int, like_width: int, base_channels: int, like_cardinality: int
) -> None:
    like = Architecture(
        stage_depths=(1,), cardinality=like_cardinality, base_width=like_width, base_channels=base_channels
    )

    def distance(width: int) -> int:
        other = like.replace(cardinality=cardinality, base_width=width)
        return abs(template_weights(other) - template_weights(like))

    solved = solve_width(cardinality=cardinality, like=like)
    widest = like_width * like_cardinality + 2
    assert solved == min(range(1, widest), key=distance)


def test_ties_go_down() -> None:
    like = Architecture(stage_depths=(1,), base_width=38, base_channels=8)
    below, above = (template_weights(like.replace(cardinality=8, base_width=width)) for width in (11, 12))
    assert template_weights(like) - below == above - template_weights(like) > 0
    assert solve_width(cardinality=8, like=like) == 11


def test_width_of_no_paths_or_of_basic_blocks_is_refused() -> None:
    with pytest.raises(SpecError, match="cardinality = 0"):
        solve_width(cardinality=0, like="resnet50")
    with pytest.raises(SpecError, match="block = 'basic'"):
        solve_width(cardinality=2, like="resnet18")
    with pytest.raises(SpecError, match="block = 'basic'"):
        template_weights(architecture("resnet34"))
