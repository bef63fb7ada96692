import math
from collections.abc import Callable
from copy import deepcopy
from dataclasses import replace
from random import Random
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from resnext.inference import contest
from resnext.inference.contest import Ratio
from resnext.inference.engine import EngineName, precisions_here
from resnext.inference.engines import Ready
from resnext.inference.layer_forms import DEFAULT, MEMORY_FORMATS, Layout, Variant
from resnext.inference.measure_forms import (
    TOLERANCES,
    Chosen,
    GroupedLayer,
    LayerForms,
    LayerShape,
    chosen_variants,
    grouped_layers,
    measure_forms,
    runner,
    whole_gain,
)
from resnext.model.forms import build
from resnext.spec.architecture import Architecture

NEEDS = {"onnxruntime": ("onnxscript", "onnxruntime"), "openvino": ("openvino",)}
DEEP = Architecture(stage_depths=(3, 1), cardinality=4, base_width=2, base_channels=4, stem="cifar", num_classes=3)
IMAGES = torch.randn(2, 3, 16, 16, generator=torch.Generator().manual_seed(0))


class Engine:
    """Runs layers in torch on a clock of its own, on which a layer takes as long as the test says."""

    layouts: tuple[Layout, ...] = tuple(MEMORY_FORMATS)

    def __init__(self, milliseconds: Callable[[nn.Module], float]) -> None:
        self.milliseconds = milliseconds
        self.seconds = 0.0

    def perf_counter(self) -> float:
        return self.seconds

    def __call__(self, layer: nn.Module, maps: Tensor) -> Callable[[], Tensor]:
        def run() -> Tensor:
            self.seconds += self.milliseconds(layer) / 1000
            return layer(maps)  # type: ignore[no-any-return]

        return run


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> Callable[..., LayerForms]:
    """Measure a convolution of four groups where each variant takes the time that is said."""

    def measure(milliseconds: Callable[[nn.Module], float]) -> LayerForms:
        engine, network = Engine(milliseconds), nn.Sequential(nn.Conv2d(8, 8, 3, groups=4))
        monkeypatch.setattr(contest, "time", engine)
        [layer] = grouped_layers(network, torch.randn(1, 8, 6, 6))
        return measure_forms(network, layer, run=engine)

    return measure


def is_dense(layer: nn.Module) -> bool:
    return getattr(layer, "groups", None) == 1


def test_layers_of_one_shape_are_found_together() -> None:
    found = grouped_layers(build(DEEP), IMAGES)
    names = [[f"stages.0.{block}.transform.conv" for block in range(3)], ["stages.1.0.transform.conv"]]
    assert [list(layer.names) for layer in found] == names
    assert [(layer.shape.map_size, layer.shape.stride) for layer in found] == [((16, 16), (1, 1)), ((16, 16), (2, 2))]
    assert {(layer.shape.groups, layer.shape.batch_size) for layer in found} == {(4, 2)}


def test_layers_of_other_libraries_are_found() -> None:
    from timm.models import resnet as timms  # noqa: PLC0415
    from torchvision.models import resnet as torchvisions  # noqa: PLC0415

    theirs: list[Any] = [
        torchvisions.ResNet(torchvisions.Bottleneck, [2, 1, 1, 1], groups=4, width_per_group=4),
        timms.ResNet(timms.Bottleneck, (2, 1, 1, 1), cardinality=4, base_width=4),  # type: ignore[arg-type]
    ]
    names = ["layer1.0.conv2", "layer1.1.conv2", "layer2.0.conv2", "layer3.0.conv2", "layer4.0.conv2"]
    for network in theirs:
        found = grouped_layers(network, torch.randn(1, 3, 32, 32))
        assert [name for layer in found for name in layer.names] == names


def test_looking_leaves_the_network_as_it_was() -> None:
    network = build(DEEP).train()
    before = deepcopy(network.state_dict())
    grouped_layers(network, IMAGES)
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())
    assert all(module.training and not module._forward_pre_hooks for module in network.modules())


def test_what_cannot_be_packed_or_does_not_run_is_not_found() -> None:
    class Own(nn.Conv2d):
        pass

    network = nn.Sequential(Own(4, 4, 1, groups=2), nn.Conv2d(4, 4, 1), nn.Identity())
    network[2].unused = nn.Conv2d(4, 4, 1, groups=2)
    assert grouped_layers(network, torch.randn(1, 4, 5, 5)) == ()


def test_a_layer_that_runs_at_several_sizes_counts_at_the_first() -> None:
    conv = nn.Conv2d(4, 4, 3, groups=2)
    [layer] = grouped_layers(nn.Sequential(conv, conv), torch.randn(1, 4, 9, 9))
    assert (layer.names, layer.shape.map_size) == (("0",), (9, 9))


def test_another_device_than_the_cpu_is_refused() -> None:
    with pytest.raises(ValueError, match="an example on meta: forms are timed on the CPU"):
        grouped_layers(nn.Identity(), torch.randn(1, 4, 9, 9, device="meta"))


@pytest.mark.parametrize(
    ("groups", "merged"), [(2, [1, 2]), (8, [1, 2, 4, 8]), (6, [1, 2, 6]), (3, [1, 3]), (32, [1, 2, 4, 8, 16, 32])]
)
def test_groups_are_merged_by_powers_of_two_and_all(groups: int, merged: list[int]) -> None:
    [layer] = grouped_layers(nn.Sequential(nn.Conv2d(groups, groups, 1, groups=groups)), torch.randn(1, groups, 3, 3))
    variants = layer.shape.variants()
    assert variants[0] == DEFAULT
    assert len(variants) == 2 * len(merged)
    assert [variant.merged_groups for variant in variants if variant.layout == "contiguous"] == merged


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_every_variant_is_equal_and_timed_in_torch(precision: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(contest, "_SAMPLE_MS", 0.01)
    network = build(DEEP)
    layer = grouped_layers(network, IMAGES)[1]
    forms = measure_forms(network, layer, precision, num_rounds=9)  # type: ignore[arg-type]
    assert (forms.layer, forms.precision) == (layer, precision)
    assert tuple(timing.variant for timing in forms.timings) == layer.shape.variants()
    for timing in forms.timings:
        assert timing.relative_error <= TOLERANCES[forms.precision]
        assert timing.latency_ms_p25 is not None
        assert timing.latency_ms_p75 is not None
        assert 0 < timing.latency_ms_p25 <= timing.latency_ms_p75
    assert forms.timings[0].gain == Ratio(1.0, 1.0, 1.0)


def test_the_fastest_variant_is_chosen(measured: Callable[..., LayerForms]) -> None:
    forms = measured(lambda layer: 1.0 if is_dense(layer) else 2.0)
    assert forms.chosen is not None
    assert forms.chosen.variant == Variant(4)
    assert forms.chosen.gain.median == pytest.approx(2.0)
    gains = {timing.variant: timing.gain.median for timing in forms.timings if timing.gain}
    assert gains.pop(Variant(4)) == pytest.approx(2.0)
    assert list(gains.values()) == pytest.approx([1.0] * 5)


@pytest.mark.parametrize(("milliseconds", "is_chosen"), [(0.98, False), (0.96, True), (1.0, False), (1.5, False)])
def test_a_gain_of_three_per_cent_is_not_enough(
    measured: Callable[..., LayerForms], milliseconds: float, is_chosen: bool
) -> None:
    forms = measured(lambda layer: milliseconds if is_dense(layer) else 1.0)
    assert (forms.chosen is not None) == is_chosen


def test_noise_is_not_chosen(measured: Callable[..., LayerForms]) -> None:
    random = Random(0)
    noisy = [measured(lambda layer: 6 * random.lognormvariate(0, 0.3)) for _ in range(20)]
    assert any(timing.gain and timing.gain.median > 1.1 for forms in noisy for timing in forms.timings)
    assert [forms.chosen for forms in noisy] == [None] * 20


def test_a_gain_that_does_not_repeat_is_not_chosen(measured: Callable[..., LayerForms]) -> None:
    num_calls = 0

    def lucky_at_first(layer: nn.Module) -> float:
        nonlocal num_calls
        num_calls += is_dense(layer)
        return 6.0 if is_dense(layer) and num_calls < 32 else 10.0

    forms = measured(lucky_at_first)
    assert forms.timings[4].gain is not None
    assert forms.timings[4].gain.low > 1.5
    assert forms.chosen is None


class WrongWhereDense:
    """Runs layers in torch, dense ones with an error."""

    layouts: tuple[Layout, ...] = tuple(MEMORY_FORMATS)

    def __call__(self, layer: nn.Module, maps: Tensor) -> Callable[[], Tensor]:
        return lambda: layer(maps) * (1.001 if is_dense(layer) else 1.0)


def test_a_variant_that_answers_otherwise_is_neither_timed_nor_chosen() -> None:
    network = nn.Sequential(nn.Conv2d(4, 4, 3, groups=2))
    [layer] = grouped_layers(network, torch.randn(1, 4, 6, 6))
    forms = measure_forms(network, layer, num_rounds=9, run=WrongWhereDense())
    [wrong] = [timing for timing in forms.timings if timing.gain is None]
    assert (wrong.variant, wrong.latency_ms_p50) == (Variant(2), None)
    assert wrong.relative_error == pytest.approx(0.001, rel=0.01)
    assert forms.chosen is None or forms.chosen.variant != Variant(2)


def test_weights_that_are_not_finite_are_named() -> None:
    network = nn.Sequential(nn.Conv2d(4, 4, 3, groups=2))
    nn.init.constant_(network[0].weight, math.nan)  # type: ignore[arg-type]
    [layer] = grouped_layers(network, torch.randn(1, 4, 6, 6))
    with pytest.raises(ValueError, match="0 differs from float64 by nan in fp32, more than 1e-05; are its weights"):
        measure_forms(network, layer)


def test_what_is_chosen_is_gathered_by_name_for_one_precision(measured: Callable[..., LayerForms]) -> None:
    forms = measured(lambda layer: 1.0)
    shape: LayerShape = forms.layer.shape
    ratio = Ratio(1.2, 1.1, 1.3)
    pair = replace(forms, layer=GroupedLayer(shape, ("a", "b")), chosen=Chosen(Variant(2), ratio))
    other = replace(pair, precision="bf16", layer=GroupedLayer(shape, ("a",)), chosen=Chosen(Variant(4), ratio))
    assert chosen_variants([forms, pair, other]) == {"a": Variant(2), "b": Variant(2)}
    assert chosen_variants([forms, pair, other], "bf16") == {"a": Variant(4)}


def test_the_whole_network_is_raced_against_itself_in_other_forms(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(contest, "_SAMPLE_MS", 0.01)
    gain = whole_gain(Ready(build(DEEP), IMAGES), {"stages.1.0.transform.conv": Variant(4)}, num_rounds=9)
    assert 0 < gain.low <= gain.median <= gain.high


@pytest.mark.parametrize("engine", ["onnxruntime", "openvino"])
def test_forms_are_equal_and_timed_on_other_engines_whose_layouts_are_their_own(
    engine: EngineName, monkeypatch: pytest.MonkeyPatch
) -> None:
    for package in NEEDS[engine]:
        pytest.importorskip(package, reason=f"{package}, an extra, is not installed")
    monkeypatch.setattr(contest, "_SAMPLE_MS", 0.01)
    network = build(DEEP)
    forms = measure_forms(network, grouped_layers(network, IMAGES)[0], num_rounds=9, run=runner(engine, "fp32"))
    assert [timing.variant for timing in forms.timings] == [Variant(1), Variant(2), Variant(4)]
    assert all(timing.gain and timing.relative_error <= TOLERANCES["fp32"] for timing in forms.timings)


@pytest.mark.parametrize(
    ("capabilities", "precisions"),
    [({"avx2": True}, ("fp32",)), ({"avx512_bf16": True}, ("fp32", "bf16")), ({"bf16": False}, ("fp32",))],
)
def test_bf16_is_there_where_the_processor_has_it(
    monkeypatch: pytest.MonkeyPatch, capabilities: dict[str, bool], precisions: tuple[str, ...]
) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: capabilities)
    assert precisions_here() == precisions


def test_a_shape_reads_like_a_line_of_the_layer_table() -> None:
    shape = grouped_layers(build(DEEP), IMAGES)[1].shape
    assert str(shape) == "3x3/2x2, 16 -> 16 in 4 groups, 2 of 16x16"
