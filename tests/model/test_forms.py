from collections.abc import Callable, Mapping
from itertools import pairwise, permutations
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import example, given, settings
from hypothesis import strategies as st
from torch import Tensor

from resnext.model.forms import build, convert, convert_tensors, skeleton
from resnext.model.network import Network
from resnext.spec.architecture import Architecture, architecture

FORMS: list[Any] = ["aggregated", "concatenated", "grouped"]
PAIRS = list(permutations(FORMS, 2))
SHORTCUTS: list[Any] = ["A", "B", "C", "none"]

SMALL = Architecture(stage_depths=(2, 1), cardinality=3, base_width=2, base_channels=4, stem="cifar", num_classes=3)
# A gradient may vanish exactly, as a shift's does where the next batch norm removes it; what is left is rounding. So
# each gradient is measured against at least this part of the whole gradient.
LEAST_PART = 1e-4

COUNTER = "stages.0.0.{}.num_batches_tracked"


@st.composite
def nets(draw: st.DrawFn) -> Architecture:
    return Architecture(
        stage_depths=draw(st.sampled_from([(1,), (1, 1), (2, 1), (1, 1, 1)])),
        cardinality=draw(st.sampled_from([1, 2, 3, 8])),  # many paths take long: they are examples by name
        base_width=draw(st.integers(1, 2)),
        base_channels=draw(st.integers(2, 4)),
        stem=draw(st.sampled_from(["imagenet", "cifar"])),
        input_channels=draw(st.sampled_from([1, 3])),
        num_classes=3,
    )


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def images_for(value: Architecture, seed: int, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(4, value.input_channels, 19, 16, generator=seeded(seed), dtype=torch.float64).to(dtype)


def step(network: Network, images: Tensor) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Outputs and batch statistics, and gradients, of one step, under the names of the grouped form."""
    evaluated = network.eval()(images)
    trained = network.train()(images)
    trained.square().sum().backward()
    gradients: dict[str, Any] = {name: parameter.grad for name, parameter in network.named_parameters()}
    own = (dict(network.named_buffers()), gradients)
    statistics, mapped = (convert_tensors(t, network.architecture, network.form, "grouped") for t in own)
    return {"eval": evaluated.detach(), "train": trained.detach(), **statistics}, mapped


def assert_near(actual: Mapping[str, Tensor], expected: Mapping[str, Tensor], least_part: float = 0.0) -> None:
    """Compare each tensor by relative norm, to 1e-11."""
    assert actual.keys() == expected.keys()
    whole = torch.cat([tensor.double().flatten() for tensor in expected.values()]).norm()
    errors = {name: (actual[name].double() - expected[name].double()).norm() for name in expected}
    floor = least_part * whole
    norms = {name: torch.maximum(tensor.double().norm(), floor) for name, tensor in expected.items()}
    assert {name: error for name, error in errors.items() if not error <= 1e-11 * norms[name]} == {}


def assert_identical(actual: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> None:
    assert list(actual) == list(expected)
    assert [name for name in expected if not torch.equal(actual[name], expected[name])] == []
    assert [name for name in expected if actual[name].dtype != expected[name].dtype] == []


def train(network: Network, momentum: Mapping[str, Tensor], seeds: range) -> dict[str, Tensor]:
    """Take one step for each seed, going on from `momentum`; return the momentum afterwards."""
    parameters = dict(network.named_parameters())
    optimiser = torch.optim.SGD(parameters.values(), lr=0.05, momentum=0.9, weight_decay=1e-3, nesterov=True)
    for name, tensor in momentum.items():
        optimiser.state[parameters[name]]["momentum_buffer"] = tensor
    for seed in seeds:
        optimiser.zero_grad()
        labels = torch.randint(3, (4,), generator=seeded(seed))
        F.cross_entropy(network(images_for(network.architecture, seed)), labels).backward()
        optimiser.step()
    return {name: optimiser.state[parameter]["momentum_buffer"] for name, parameter in parameters.items()}


@pytest.mark.parametrize("shortcut", SHORTCUTS)
@given(value=nets(), pair=st.sampled_from(PAIRS), seed=st.integers(0, 1_000))
@example(value=SMALL.replace(cardinality=64), pair=("grouped", "aggregated"), seed=0)
@example(value=SMALL.replace(cardinality=64), pair=("aggregated", "concatenated"), seed=0)
@example(value=SMALL.replace(cardinality=1), pair=("concatenated", "grouped"), seed=0)
def test_any_two_forms_compute_and_learn_the_same_in_float64(
    shortcut: Any, value: Architecture, pair: tuple[Any, Any], seed: int, randomised: Callable[..., None]
) -> None:
    network = build(value.replace(shortcut=shortcut), pair[0], seeded(seed)).double()
    randomised(network, seed)
    converted = convert(network, pair[1])
    assert (network.form, converted.form) == pair
    images = images_for(value, seed)
    expected, gradients = step(network, images)
    actual, mapped_gradients = step(converted, images)
    assert_near(actual, expected)
    assert_near(mapped_gradients, gradients, LEAST_PART)


@pytest.mark.parametrize("shortcut", SHORTCUTS)
@settings(max_examples=15)
@given(value=nets(), pair=st.sampled_from(PAIRS), seed=st.integers(0, 1_000))
@example(value=SMALL.replace(cardinality=64), pair=("grouped", "aggregated"), seed=0)
@example(value=SMALL.replace(cardinality=32), pair=("aggregated", "concatenated"), seed=0)
def test_any_two_forms_compute_the_same_in_float32(
    *,
    shortcut: Any,
    value: Architecture,
    pair: tuple[Any, Any],
    seed: int,
    randomised: Callable[..., None],
    relative_error: Callable[..., float],
) -> None:
    network = build(value.replace(shortcut=shortcut), pair[0], seeded(seed))
    randomised(network, seed)
    images = images_for(value, seed, torch.float32)
    converted = convert(network, pair[1])
    assert relative_error(converted.eval()(images), network.eval()(images)) <= 1e-5
    assert relative_error(converted.train()(images), network.train()(images)) <= 1e-4


@example(value=SMALL.replace(cardinality=32), chain=["aggregated", "grouped", "concatenated"], seed=0)
@given(value=nets(), chain=st.lists(st.sampled_from(FORMS), min_size=2, max_size=5), seed=st.integers(0, 1_000))
def test_any_chain_of_conversions_comes_back_bit_for_bit(
    value: Architecture, chain: list[Any], seed: int, randomised: Callable[..., None]
) -> None:
    network = build(value, chain[0], seeded(seed))
    randomised(network, seed)
    last = network
    for source, target in pairwise([*chain, chain[0]]):
        assert last.form == source
        last = convert(last, target)
    assert_identical(last.state_dict(), network.state_dict())


@given(value=nets(), form=st.sampled_from(FORMS), seed=st.integers(0, 1_000))
def test_every_form_starts_from_the_same_weights(value: Architecture, form: Any, seed: int) -> None:
    grouped = build(value, "grouped", seeded(seed))
    assert_identical(convert(build(value, form, seeded(seed)), "grouped").state_dict(), grouped.state_dict())
    num_params = [sum(p.numel() for p in network.parameters()) for network in (grouped, skeleton(value, form))]
    assert num_params[0] == num_params[1]


@pytest.mark.parametrize("form", FORMS[:2])
@pytest.mark.parametrize("shortcut", SHORTCUTS)
def test_training_goes_on_in_another_form_with_converted_momentum(form: Any, shortcut: Any) -> None:
    value = SMALL.replace(shortcut=shortcut)
    grouped = build(value, "grouped", seeded(0)).double()
    momentum = train(grouped, {}, range(3))
    other = convert(grouped, form)
    other_momentum = convert_tensors(momentum, value, "grouped", form)
    assert set(other_momentum) == {name for name, _ in other.named_parameters()}
    last = train(grouped, momentum, range(3, 6))
    other_last = train(other, other_momentum, range(3, 6))
    assert_near(convert(other, "grouped").state_dict(), grouped.state_dict())
    assert_near(convert_tensors(other_last, value, form, "grouped"), last)
    assert grouped.get_buffer("stem.norm.num_batches_tracked") == 6


@pytest.mark.parametrize(("source", "target"), PAIRS)
def test_average_of_weights_converts_like_weights(source: Any, target: Any) -> None:
    first, second = (dict(build(SMALL, source, seeded(seed)).named_parameters()) for seed in (0, 1))
    average = {name: 0.9 * first[name].detach() + 0.1 * second[name].detach() for name in first}
    converted = [convert_tensors(weights, SMALL, source, target) for weights in (first, second)]
    expected = {name: 0.9 * converted[0][name] + 0.1 * converted[1][name] for name in converted[0]}
    assert_identical(convert_tensors(average, SMALL, source, target), expected)


@pytest.mark.parametrize(("source", "target"), [*PAIRS, *zip(FORMS, FORMS, strict=True)])
def test_converted_network_owns_its_memory(source: Any, target: Any) -> None:
    network = build(SMALL, source, seeded(0))
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    converted = convert(network, target)
    storages = {tensor.untyped_storage().data_ptr() for tensor in converted.state_dict().values()}
    assert len(storages) == len(converted.state_dict())
    for tensor in converted.state_dict().values():
        tensor.fill_(42)
    assert_identical(network.state_dict(), before)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_conversion_keeps_type_and_mode(form: Any, dtype: torch.dtype) -> None:
    network = build(SMALL, "grouped", seeded(0)).to(dtype)
    for is_training in (True, False):
        converted = convert(network.train(is_training), form)
        assert {module.training for module in converted.modules()} == {is_training}
        assert {parameter.dtype for parameter in converted.parameters()} == {dtype}
        assert all(parameter.requires_grad for parameter in converted.parameters())


def test_counter_of_batches_is_copied_to_each_path(randomised: Callable[..., None]) -> None:
    network = build(SMALL)
    randomised(network, 39)
    state = convert(network, "aggregated").state_dict()
    counters = [
        state[COUNTER.format(f"paths.{path}.{role}.norm")] for path in range(3) for role in ("reduce", "transform")
    ]
    assert [counter.item() for counter in (*counters, state[COUNTER.format("norm")])] == [42] * 7


@pytest.mark.parametrize("form", FORMS[:2])
def test_paths_that_disagree_on_the_counter_are_refused(form: Any) -> None:
    network = build(SMALL, form)
    network.get_buffer(COUNTER.format("paths.1.reduce.norm")).fill_(5)
    with pytest.raises(ValueError, match=rf"{COUNTER.format('reduce.norm')}: its paths disagree \(0, 5, 0\)"):
        convert(network, "grouped")


@pytest.mark.parametrize(
    ("form", "name"),
    [
        ("aggregated", "stages.0.1.paths.2.transform.conv.weight"),
        ("aggregated", "stages.1.0.expand.1.weight"),
        ("concatenated", "stages.1.0.paths.0.reduce.norm.running_var"),
        ("concatenated", "stages.0.0.paths.1.transform.norm.num_batches_tracked"),
    ],
)
def test_missing_path_is_named(form: Any, name: str) -> None:
    state = build(SMALL, form).state_dict()
    del state[name]
    with pytest.raises(ValueError, match=f"^{name} is missing"):
        convert_tensors(state, SMALL, form, "grouped")


def test_paths_in_the_grouped_form_are_refused() -> None:
    state = {**build(SMALL).state_dict(), **build(SMALL, "concatenated").state_dict()}
    with pytest.raises(ValueError, match=r"not recognised in form 'grouped' .*: stages\.0\.0\.paths\.0\."):
        convert_tensors(state, SMALL, "grouped", "aggregated")


def test_unknown_form_is_refused(unchecked: None) -> None:
    network: Any = build(SMALL)
    calls: list[Callable[[Any], Any]] = [
        lambda form: build(SMALL, form),
        lambda form: convert(network, form),
        lambda form: skeleton(SMALL, form),
        lambda form: convert_tensors({}, SMALL, form, "grouped"),
        lambda form: convert_tensors({}, SMALL, "grouped", form),
    ]
    for call in calls:
        with pytest.raises(ValueError, match="form = 'split': allowed are aggregated, concatenated, grouped"):
            call("split")


@pytest.mark.parametrize("form", FORMS[:2])
def test_basic_blocks_have_no_paths(form: Any) -> None:
    value = architecture("resnet18", base_channels=4, base_width=4)
    network = build(value)
    for call in (lambda: build(value, form), lambda: convert(network, form), lambda: skeleton(value, form)):
        with pytest.raises(ValueError, match=f"form = '{form}': .*basic blocks.*use 'grouped'"):
            call()
    assert_identical(convert(network, "grouped").state_dict(), network.state_dict())
