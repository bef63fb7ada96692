import math
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from resnext.model.forms import build, skeleton
from resnext.model.initialise import Constant, Distribution, Normal, Uniform, distributions, initialise
from resnext.model.network import Network
from resnext.spec.architecture import Architecture, architecture

SMALL = Architecture(stage_depths=(1, 2), cardinality=2, base_width=3, base_channels=4, stem="cifar", num_classes=5)
FORMS = ["aggregated", "concatenated", "grouped"]

# Wide enough that the spread of the drawn weights says something.
WIDE = Architecture(
    stage_depths=(1, 1), cardinality=8, base_width=16, base_channels=32, stem="imagenet", num_classes=20
)


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def drawn(network: nn.Module) -> Iterator[tuple[str, Tensor, Distribution]]:
    for path, module in network.named_modules():
        for name, distribution in distributions(module).items():
            yield f"{path}.{name}", module.get_parameter(name), distribution


@st.composite
def small_nets(draw: st.DrawFn) -> Architecture:
    block = draw(st.sampled_from(["bottleneck", "basic"]))
    return Architecture(
        stage_depths=tuple(draw(st.lists(st.integers(1, 2), min_size=1, max_size=4))),
        cardinality=1 if block == "basic" else draw(st.sampled_from([1, 2, 8])),
        base_width=draw(st.integers(1, 3)),
        base_channels=draw(st.integers(1, 4)),
        block=block,
        stem=draw(st.sampled_from(["imagenet", "cifar"])),
        shortcut=draw(st.sampled_from(["A", "B", "C", "none"])),
        input_channels=draw(st.sampled_from([1, 3, 5])),
        num_classes=draw(st.integers(1, 12)),
    )


@given(value=small_nets(), batch=st.integers(1, 3), height=st.integers(32, 75), width=st.integers(32, 75))
def test_logits_have_batch_and_classes_at_any_image_size(
    value: Architecture, batch: int, height: int, width: int
) -> None:
    network = build(value).eval()
    logits = network(torch.randn(batch, value.input_channels, height, width))
    assert logits.shape == (batch, value.num_classes)
    assert logits.isfinite().all()


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("channels", [1, 3, 5])
def test_every_form_takes_any_number_of_input_channels(form: Any, channels: int) -> None:
    network = build(SMALL.replace(input_channels=channels), form)
    assert network(torch.randn(2, channels, 33, 47)).shape == (2, 5)


@pytest.mark.parametrize("form", FORMS)
def test_features_are_named_and_shaped(form: Any) -> None:
    network = build(SMALL.replace(stem="imagenet"), form)
    shapes = {name: tuple(tensor.shape) for name, tensor in network.features(torch.randn(2, 3, 65, 48)).items()}
    assert shapes == {
        "stem": (2, 4, 33, 24),
        "stage1": (2, 16, 17, 12),
        "stage2": (2, 32, 9, 6),
        "pooled": (2, 32),
        "logits": (2, 5),
    }


@pytest.mark.parametrize("stem", ["imagenet", "cifar"])
@pytest.mark.parametrize("shortcut", ["A", "B", "C", "none"])
def test_features_end_in_what_forward_returns(stem: Any, shortcut: Any, randomised: Callable[..., None]) -> None:
    network = build(SMALL.replace(stem=stem, shortcut=shortcut)).eval()
    randomised(network)
    images = torch.randn(2, 3, 40, 40)
    maps = network.features(images)
    assert torch.equal(maps["logits"], network(images))
    assert torch.equal(maps["pooled"], maps["stage2"].mean(dim=(2, 3)))
    assert all((maps[name] >= 0).all() for name in ("stem", "stage1", "stage2"))


@pytest.mark.parametrize("stem", ["imagenet", "cifar"])
@pytest.mark.parametrize("shortcut", ["A", "B", "C", "none"])
def test_features_are_not_overwritten_by_later_layers(
    stem: Any, shortcut: Any, randomised: Callable[..., None]
) -> None:
    network = build(SMALL.replace(stem=stem, shortcut=shortcut)).eval()
    randomised(network)
    images = torch.randn(2, 3, 40, 40)
    maps = network.features(images)
    x = torch.relu(network.stem(images))
    assert torch.equal(maps["stem"], x)
    x = network.pool(x)
    for number, stage in enumerate(network.stages, start=1):
        x = stage(x)
        assert torch.equal(maps[f"stage{number}"], x)


def test_forward_leaves_the_images_alone() -> None:
    images = torch.randn(2, 3, 32, 32)
    before = images.clone()
    build(SMALL)(images)
    assert torch.equal(images, before)


@pytest.mark.parametrize("channels", [1, 4])
def test_wrong_number_of_channels_is_refused(channels: int) -> None:
    with pytest.raises(ValueError, match=rf"shape \(2, {channels}, 32, 40\).*takes \(batch, 3, height, width\)"):
        build(SMALL)(torch.randn(2, channels, 32, 40))


def test_a_removed_shortcut_leaves_the_main_path_alone() -> None:
    network = build(SMALL.replace(shortcut="none")).eval()
    block: Any = network.stages[0]
    x = torch.randn(2, 4, 8, 8)
    inner = torch.relu(block[0].transform(torch.relu(block[0].reduce(x))))
    assert torch.equal(block[0](x), torch.relu(block[0].expand(inner)))


def test_shortcut_a_subsamples_and_pads_with_zero_channels() -> None:
    network = build(SMALL.replace(shortcut="A"))
    block: Any = network.stages[1]
    x = torch.randn(2, 16, 9, 7)
    padded = block[0].shortcut(x)
    assert torch.equal(padded[:, :16], x[:, :, ::2, ::2])
    assert padded.shape == (2, 32, 5, 4)
    assert not padded[:, 16:].any()
    assert not list(block[0].shortcut.parameters())


@pytest.mark.parametrize("name", ["resnet18", "resnext50_32x4d", "resnext29_8x64d"])
@pytest.mark.parametrize("shortcut", ["A", "B", "C", "none"])
def test_every_parameter_has_one_distribution(name: str, shortcut: str) -> None:
    network = skeleton(architecture(name, shortcut=shortcut))
    assert sorted(name for name, _, _ in drawn(network)) == sorted(name for name, _ in network.named_parameters())


def test_distributions_of_the_initial_weights(golden: Callable[[str, str], None]) -> None:
    rows = [(name, str(tuple(tensor.shape)), str(how)) for name, tensor, how in drawn(skeleton(SMALL))]
    names, shapes, _ = (max(len(cell) for cell in column) for column in zip(*rows, strict=True))
    lines = (f"{name.ljust(names)}  {shape.ljust(shapes)}  {how}\n" for name, shape, how in rows)
    golden("initialisation_small.txt", "".join(lines))


def test_he_normal_counts_the_outputs_of_all_groups() -> None:
    network = skeleton(architecture("resnext50_32x4d"))
    transform = network.get_submodule("stages.0.0.transform.conv")
    assert distributions(transform) == {"weight": Normal(math.sqrt(2 / (3 * 3 * 128)))}


def test_head_is_uniform_within_one_over_root_of_its_inputs() -> None:
    network = skeleton(architecture("resnext50_32x4d"))
    assert distributions(network.head) == {"weight": Uniform(1 / math.sqrt(2048)), "bias": Constant(0.0)}


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_drawn_weights_have_mean_and_spread_of_their_distribution(seed: int) -> None:
    for name, tensor, distribution in drawn(build(WIDE, generator=seeded(seed))):
        if isinstance(distribution, Constant):
            assert (tensor == distribution.value).all(), name
            continue
        is_normal = isinstance(distribution, Normal)
        std = distribution.std if isinstance(distribution, Normal) else distribution.bound / math.sqrt(3)
        standard_error = std / math.sqrt(tensor.numel())
        # A sample's spread varies by 1/sqrt(2n) for a normal, 1/sqrt(5n) for a uniform distribution.
        spread_error = standard_error / math.sqrt(2 if is_normal else 5)
        assert abs(tensor.mean().item()) < 5 * standard_error, name
        assert abs(tensor.std().item() - std) < 5 * spread_error, name


def test_uniform_weights_stay_within_their_bound_and_fill_it() -> None:
    bound = 1 / math.sqrt(WIDE.base_channels * 4 * 2)
    weight = build(WIDE, generator=seeded(0)).head.weight
    assert 0.99 * bound < weight.abs().max().item() <= bound


def test_no_block_starts_at_zero() -> None:
    norms = [module for module in build(WIDE).modules() if isinstance(module, nn.BatchNorm2d)]
    assert norms
    assert all((norm.weight == 1).all() and not norm.bias.any() for norm in norms)


def test_fresh_batch_statistics_are_those_of_nothing_seen() -> None:
    for name, buffer in build(WIDE).named_buffers():
        assert (buffer == (1 if name.endswith("running_var") else 0)).all(), name


def test_same_seed_gives_the_same_weights_and_another_seed_others() -> None:
    first, again, other = (build(SMALL, generator=seeded(seed)).state_dict() for seed in (7, 7, 8))
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["stem.conv.weight"], other["stem.conv.weight"])
    assert not torch.equal(first["head.weight"], other["head.weight"])


def test_a_generator_leaves_the_global_one_alone() -> None:
    before = torch.get_rng_state()
    build(SMALL, generator=seeded(0))
    assert torch.equal(torch.get_rng_state(), before)


def test_without_a_generator_the_global_seed_decides() -> None:
    weights = []
    for _ in range(2):
        torch.manual_seed(3)
        weights.append(build(SMALL).head.weight)
    assert torch.equal(*weights)


def test_initialise_draws_anew_in_place(randomised: Callable[..., None]) -> None:
    network = build(SMALL, generator=seeded(1))
    tensors = dict(network.named_parameters())
    randomised(network)
    initialise(network, seeded(2))
    fresh = build(SMALL, generator=seeded(2)).state_dict()
    assert all(torch.equal(tensor, fresh[name]) for name, tensor in network.state_dict().items())
    assert all(tensors[name] is tensor for name, tensor in network.named_parameters())


def test_skeleton_takes_no_memory_and_has_the_shapes_of_the_network() -> None:
    empty, full = skeleton(SMALL), build(SMALL)
    assert isinstance(empty, Network)
    assert all(tensor.is_meta for tensor in empty.state_dict().values())
    shapes = {name: tensor.shape for name, tensor in empty.state_dict().items()}
    assert shapes == {name: tensor.shape for name, tensor in full.state_dict().items()}


def test_build_takes_a_name_as_well_as_an_architecture() -> None:
    assert build("resnext29_1x2d").architecture == architecture("resnext29_1x2d")
    assert build(SMALL).architecture == SMALL
