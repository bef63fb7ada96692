from collections.abc import Callable
from typing import Any

import pytest
import timm
import torch
import torchvision.models
from torch import Tensor, nn

from resnext.artefact.adapters import export_weights, load_weights, torchvision_names
from resnext.model.forms import build, convert, skeleton
from resnext.model.network import Network
from resnext.spec.architecture import Architecture, architecture

FORMS: list[Any] = ["aggregated", "concatenated", "grouped"]
PATHS: list[Any] = ["aggregated", "concatenated"]

SMALL = Architecture(stage_depths=(1, 2), cardinality=2, base_width=2, base_channels=4, stem="cifar", num_classes=5)

LIBRARIES: list[Any] = [
    ("torchvision", "resnet18"),
    ("torchvision", "resnet34"),
    ("torchvision", "resnet50"),
    ("torchvision", "resnet101"),
    ("torchvision", "resnet152"),
    ("torchvision", "resnext50_32x4d"),
    ("torchvision", "resnext101_32x8d"),
    ("torchvision", "resnext101_64x4d"),
    ("torchvision", "wide_resnet50_2"),
    ("timm", "resnext50_32x4d"),
    ("timm", "resnext101_32x4d"),
]


def make(library: str, name: str) -> nn.Module:
    """Make a network whose convolutions have plain random weights: to draw those of the library takes longer."""
    with torch.device("meta"):
        made: nn.Module = getattr(torchvision.models, name)() if library == "torchvision" else timm.create_model(name)
    network = made.to_empty(device="cpu")
    for parameter in network.parameters():
        bound = (3 / parameter[0].numel()) ** 0.5
        parameter.uniform_(-bound, bound)
    return network.eval()


def small(form: Any = "grouped", seed: int = 0, **fields: Any) -> Network:
    return build(SMALL.replace(**fields), form, torch.Generator().manual_seed(seed)).eval()


def theirs(seed: int = 1, **fields: Any) -> dict[str, Tensor]:
    return export_weights(small(seed=seed, **fields), "torchvision")


def copied(network: Network) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in network.state_dict().items()}


def is_same(state: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return state.keys() == other.keys() and all(torch.equal(state[name], other[name]) for name in state)


def assert_refused(network: Network, weights: Any, fragments: list[str], **options: Any) -> None:
    before = copied(network)
    with pytest.raises(ValueError) as caught:
        load_weights(network, weights, **options)
    missing = [fragment for fragment in fragments if fragment not in str(caught.value)]
    assert not missing, f"{missing} not in {caught.value}"
    assert is_same(copied(network), before)


@pytest.mark.parametrize(("library", "name"), LIBRARIES)
@torch.no_grad()
def test_other_libraries_weights_give_their_outputs_and_go_back(
    library: Any, name: str, randomised: Callable[..., None], relative_error: Callable[..., float]
) -> None:
    other = make(library, name)
    randomised(other)
    network = skeleton(architecture(name)).to_empty(device="cpu").eval()
    load_weights(network, other.state_dict())
    images = torch.randn(2, 3, 64, 64)
    expected = other(images)
    assert expected.isfinite().all()
    assert expected.std() > 0
    assert relative_error(network(images), expected) <= 1e-5
    exported = export_weights(network, library)
    other.load_state_dict(exported, strict=True)
    assert is_same(exported, dict(other.state_dict()))
    assert torch.equal(other(images), expected)


@pytest.mark.parametrize("naming", ["torchvision", "timm"])
def test_both_libraries_use_one_table(naming: Any) -> None:
    network = small()
    assert is_same(export_weights(network, naming), theirs(seed=0))
    assert set(export_weights(network, naming)) == set(torchvision_names(SMALL).values())


@pytest.mark.parametrize("shortcut", ["A", "B", "C", "none"])
@pytest.mark.parametrize("block", ["bottleneck", "basic"])
def test_every_tensor_has_one_name_elsewhere(shortcut: Any, block: Any) -> None:
    fields = {"cardinality": 1, "shortcut": shortcut, "block": block}
    names = torchvision_names(SMALL.replace(**fields))
    assert set(names) == set(small(**fields).state_dict())
    assert len(set(names.values())) == len(names)


@pytest.mark.parametrize("target", FORMS)
@pytest.mark.parametrize("source", FORMS)
@pytest.mark.parametrize("shortcut", ["A", "B", "C", "none"])
def test_own_weights_load_from_any_form_into_any_form(
    source: Any, target: Any, shortcut: Any, randomised: Callable[..., None]
) -> None:
    network, weights = small(target, 0, shortcut=shortcut), small(source, 1, shortcut=shortcut)
    randomised(weights)
    load_weights(network, weights.state_dict())
    assert is_same(copied(network), copied(convert(weights, target)))
    assert is_same(export_weights(network), copied(convert(weights, "grouped")))


@pytest.mark.parametrize("form", PATHS)
@pytest.mark.parametrize("naming", ["torchvision", "timm"])
def test_other_names_load_into_paths_and_come_back(form: Any, naming: Any) -> None:
    network = small(form)
    load_weights(network, theirs(seed=1))
    assert network.form == form
    assert is_same(copied(network), copied(small(form, 1)))
    assert is_same(export_weights(network, naming), theirs(seed=1))


@pytest.mark.parametrize(
    "prefix", ["", "module.", "model.", "backbone.", "_orig_mod.", "module._orig_mod.", "model.backbone."]
)
@pytest.mark.parametrize("wrapper", [None, "state_dict", "model"])
@pytest.mark.parametrize("naming", ["torchvision", "resnext"])
def test_wrappers_and_prefixes_are_taken_off(prefix: str, wrapper: str | None, naming: Any) -> None:
    weights: dict[str, Any] = {
        f"{prefix}{name}": tensor for name, tensor in export_weights(small(seed=1), naming).items()
    }
    network = small()
    load_weights(network, {wrapper: weights, "epoch": 3, "optimizer": {}} if wrapper else weights)
    assert is_same(copied(network), copied(small(seed=1)))


def test_state_dict_holding_a_model_is_opened() -> None:
    network = small()
    load_weights(network, {"state_dict": {"model": theirs(seed=1)}})
    assert is_same(copied(network), copied(small(seed=1)))


def test_one_tensor_under_two_prefixes_is_refused() -> None:
    weights = theirs()
    weights["module.conv1.weight"] = weights["conv1.weight"]
    assert_refused(small(), weights, ["module.conv1.weight", "twice"])


def test_names_not_recognised_are_listed_one_by_one() -> None:
    extra = {f"aux.{number}.weight": torch.zeros(1) for number in range(3)}
    expected = ["resnext11_2x2d", "not recognised: aux.0.weight, aux.1.weight, aux.2.weight"]
    assert_refused(small(), {**theirs(), **extra}, expected)


def test_names_missing_are_listed_one_by_one() -> None:
    weights = theirs()
    for name in ("layer1.0.conv2.weight", "bn1.running_mean", "fc.bias"):
        del weights[name]
    expected = ["missing: stem.norm.running_mean, stages.0.0.transform.conv.weight, head.bias"]
    assert_refused(small(), weights, expected)


def test_many_names_are_listed_up_to_a_dozen() -> None:
    assert_refused(small(), {}, ["missing: stem.conv.weight, stem.norm.weight", "more"])


def test_not_recognised_and_missing_are_told_together() -> None:
    weights = theirs()
    weights["fc.gain"] = weights.pop("fc.bias")
    assert_refused(small(), weights, ["not recognised: fc.gain", "missing: head.bias"])


def test_wrong_shape_names_the_layer_and_both_shapes() -> None:
    weights = theirs()
    weights["layer1.0.conv2.weight"] = torch.zeros(4, 4, 3, 3)
    assert_refused(small(), weights, ["stages.0.0.transform.conv.weight", "(4, 4, 3, 3)", "(4, 2, 3, 3)"])


@pytest.mark.parametrize("form", FORMS)
def test_weights_of_another_width_are_refused_by_every_form(form: Any) -> None:
    weights = small("aggregated", base_width=3).state_dict()
    expected = ["stages.0.0.reduce.conv.weight is (6, 4, 1, 1), the network's is (4, 4, 1, 1)"]
    assert_refused(small(form), weights, expected)


@pytest.mark.parametrize("form", FORMS)
def test_weights_of_another_depth_are_refused(form: Any) -> None:
    assert_refused(small(form), theirs(stage_depths=(1, 3)), ["not recognised: layer2.2.conv1.weight"])
    assert_refused(small(form), theirs(stage_depths=(1, 1)), ["missing: ", "stages.1.1.reduce.conv.weight"])


@pytest.mark.parametrize("source", PATHS)
@pytest.mark.parametrize("target", FORMS)
def test_weights_with_a_missing_path_are_refused(source: Any, target: Any) -> None:
    weights = small(source, 1).state_dict()
    del weights["stages.0.0.paths.1.reduce.conv.weight"]
    assert_refused(small(target), weights, ["stages.0.0.paths.1.reduce.conv.weight is missing"])


def test_other_class_count_is_refused_unless_the_head_is_replaced() -> None:
    assert_refused(small(), theirs(num_classes=7), ["has 7 classes", "network's has 5", "replace_head=True"])


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("num_classes", [7, 5])
def test_replacing_the_head_keeps_the_networks_own(form: Any, num_classes: int) -> None:
    network = small(form)
    head = network.head.weight.clone()
    load_weights(network, theirs(num_classes=num_classes), replace_head=True)
    assert torch.equal(network.head.weight, head)
    body = {name: tensor for name, tensor in copied(network).items() if not name.startswith("head.")}
    expected = {name: tensor for name, tensor in copied(small(form, 1)).items() if not name.startswith("head.")}
    assert is_same(body, expected)


def test_weights_without_a_head_load_where_it_is_replaced() -> None:
    weights = {name: tensor for name, tensor in theirs().items() if not name.startswith("fc.")}
    assert_refused(small(), weights, ["missing: head.weight, head.bias"])
    network = small()
    load_weights(network, weights, replace_head=True)
    assert torch.equal(network.stem.conv.weight, small(seed=1).stem.conv.weight)


@pytest.mark.parametrize("option", [True, False])
def test_replacing_the_head_excuses_nothing_else(option: bool) -> None:
    weights = {**theirs(), "bn1.weight": torch.ones(3)}
    assert_refused(small(), weights, ["stem.norm.weight is (3,), the network's is (4,)"], replace_head=option)


@pytest.mark.parametrize("form", FORMS)
def test_missing_counters_of_batches_count_as_zero(form: Any, randomised: Callable[..., None]) -> None:
    network = small(form)
    randomised(network)
    load_weights(network, {name: tensor for name, tensor in theirs().items() if "num_batches" not in name})
    assert is_same(copied(network), copied(small(form, 1)))


@pytest.mark.parametrize("value", [3, None, "weights", [1.0]])
def test_value_that_is_no_tensor_is_refused(value: Any) -> None:
    assert_refused(small(), {**theirs(), "conv1.weight": value}, ["conv1.weight", type(value).__name__, "not a tensor"])


def test_unknown_naming_is_refused(unchecked: None) -> None:
    naming: Any = "keras"
    with pytest.raises(ValueError, match="naming = 'keras': allowed are resnext, torchvision, timm"):
        export_weights(small(), naming)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("naming", ["resnext", "torchvision"])
def test_exported_and_loaded_weights_are_copies(form: Any, naming: Any) -> None:
    network = small(form)
    before = copied(network)
    exported = export_weights(network, naming)
    load_weights(network, exported)
    for tensor in exported.values():
        tensor.fill_(42)
    assert is_same(copied(network), before)


def test_loading_keeps_the_type_of_the_network() -> None:
    network = small().double()
    load_weights(network, theirs())
    assert {parameter.dtype for parameter in network.parameters()} == {torch.float64}
    assert torch.equal(network.head.weight.float(), small(seed=1).head.weight)
