from typing import Any

import pytest
import timm
import torch
import torchvision
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from resnext.artefact.adapters import torchvision_names
from resnext.artefact.recognise import recognise
from resnext.model.forms import build, skeleton
from resnext.spec.architecture import Architecture, architecture

SMALL = Architecture(stage_depths=(1, 2), cardinality=2, base_width=2, base_channels=4, stem="cifar", num_classes=5)

NAMES = st.one_of(
    st.builds(
        lambda depth, c, d: f"resnext{depth}_{c}x{d}d",
        st.sampled_from([26, 50, 20, 29]),
        *[st.integers(2, 64)] * 2,
    ),
    st.builds(lambda depth, d: f"resnet{depth}_1x{d}d", st.sampled_from([18, 34, 50, 152, 11]), st.integers(1, 128)),
    st.builds(lambda factor: f"wide_resnet50_{factor}", st.integers(1, 4)),
)
FIELDS = st.fixed_dictionaries(
    {},
    optional={
        "base_channels": st.integers(1, 100),
        "input_channels": st.integers(1, 4),
        "num_classes": st.integers(1, 2000),
        "stem": st.sampled_from(["imagenet", "cifar"]),
        "shortcut": st.sampled_from(["A", "B", "C"]),
    },
)


def tensors_of(network: Architecture, naming: str, form: Any = "grouped") -> dict[str, Tensor]:
    """Return shapes without memory, which is all that recognition looks at."""
    held = dict(skeleton(network, form).state_dict())
    return held if naming == "resnext" else {torchvision_names(network)[name]: held[name] for name in held}


@given(NAMES, FIELDS, st.sampled_from(["resnext", "torchvision"]))
def test_every_network_of_the_grammar_is_recognised_from_its_tensors(
    name: str, fields: dict[str, Any], naming: str
) -> None:
    network = architecture(name, **fields)
    found, tensors = recognise(tensors_of(network, naming))
    assert tensors.keys() == skeleton(network).state_dict().keys()
    if network.shortcut != "C":
        assert found == network
    else:  # where every block changes the shape, B and C are one
        assert found.replace(shortcut="C") == network


@pytest.mark.parametrize("form", ["aggregated", "concatenated", "grouped"])
@pytest.mark.parametrize("shortcut", ["A", "B", "C"])
def test_weights_in_paths_are_recognised_and_grouped(form: Any, shortcut: Any) -> None:
    network = build(SMALL.replace(shortcut=shortcut), form)
    found, tensors = recognise(network.state_dict())
    assert found == network.architecture
    assert {name: tensor.shape for name, tensor in tensors.items()} == {
        name: tensor.shape for name, tensor in skeleton(found).state_dict().items()
    }


def test_a_network_without_shortcuts_is_taken_for_type_a() -> None:
    assert recognise(tensors_of(SMALL.replace(shortcut="none"), "resnext"))[0] == SMALL.replace(shortcut="A")


def test_weights_without_a_head_or_counters_are_recognised() -> None:
    held = tensors_of(SMALL, "torchvision")
    bare = {name: tensor for name, tensor in held.items() if not name.startswith("fc.") and "num_batches" not in name}
    found, tensors = recognise(bare)
    assert found == SMALL.replace(num_classes=1000)
    assert "head.weight" not in tensors
    assert int(tensors["stem.norm.num_batches_tracked"]) == 0


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("seresnet50", ["these look like resnet50,", "not recognised: layer1.0.se.fc1.weight"]),
        ("resnet50d", ["these look like resnet50,", "not recognised: conv1.0.weight", "missing: stem.conv.weight"]),
        ("res2net50_26w_4s", ["these look like resnet50", "layer1.0.convs.0.weight", "missing: stages.0.0.transform"]),
    ],
)
def test_a_relative_is_named_with_what_it_has_and_lacks(name: str, words: list[str]) -> None:
    with torch.device("meta"):
        tensors = timm.create_model(name).state_dict()
    with pytest.raises(ValueError) as caught:
        recognise(tensors)
    assert [word for word in words if word not in str(caught.value)] == []


@pytest.mark.parametrize("name", ["vgg11", "vit_b_32", "densenet121"])
def test_another_architecture_is_refused_with_the_nearest_in_size(name: str) -> None:
    with torch.device("meta"):
        tensors = getattr(torchvision.models, name)().state_dict()
    with pytest.raises(ValueError, match=r"no ResNet or ResNeXt \(nearest in size: resne.*not recognised: "):
        recognise(tensors)


def test_a_layer_of_another_shape_is_named() -> None:
    tensors = {**tensors_of(SMALL, "torchvision"), "layer2.1.conv3.weight": torch.zeros(3, 3, 1, 1)}
    with pytest.raises(ValueError, match=r"look like resnext11_2x2d, but have other shapes: stages.1.1.expand.*\(3, 3"):
        recognise(tensors)


@pytest.mark.parametrize("tensors", [{}, {"layer1.0.conv1.weight": torch.zeros(3)}, {"conv1.weight": torch.zeros(0)}])
def test_scraps_are_refused(tensors: dict[str, Tensor]) -> None:
    with pytest.raises(ValueError, match=r"no weights|no ResNet"):
        recognise(tensors)
