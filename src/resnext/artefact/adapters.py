"""Weights under other libraries' names: torchvision's and timm's, which are one and the same table, both ways."""

import re
from collections.abc import Mapping
from typing import Any, Literal, get_args

import torch
from torch import Tensor

from resnext.model.forms import convert_tensors, tensor_names
from resnext.model.network import Network
from resnext.spec.architecture import Architecture
from resnext.spec.plan import BlockPlan, Form, plan

Naming = Literal["resnext", "torchvision", "timm"]

_WRAPPERS = ("state_dict", "model")
_MOST_WRAPPERS = 4
_PREFIXES = ("module.", "model.", "backbone.", "_orig_mod.")
_COUNTER = "num_batches_tracked"
_MOST_NAMED = 12


def load_weights(network: Network, state_dict: Mapping[str, Any], *, replace_head: bool = False) -> None:
    """Load weights named by torchvision, timm or this library, in any form, into a network of any form.

    Containers (`state_dict`, `model`) are opened and prefixes of wrappers (`module.`, `model.`, `backbone.`,
    `_orig_mod.`) taken off. With `replace_head`, the network keeps its own head whatever the weights hold.
    Raises `ValueError`, and leaves the network as it was, naming each tensor that is not recognised, is missing or
    has another shape, or where the classes differ in number and `replace_head` is not given.
    """
    architecture = network.architecture
    tensors = to_grouped(unwrap(state_dict), architecture)
    own = convert_tensors(network.state_dict(), architecture, network.form, "grouped")
    if replace_head:
        tensors.update({name: tensor for name, tensor in own.items() if name.startswith("head.")})
    tensors = with_counters(tensors, own)
    _check_names(tensors, own, architecture)
    _check_shapes(tensors, own)
    network.load_state_dict(convert_tensors(tensors, architecture, "grouped", network.form))


def export_weights(network: Network, naming: Naming = "resnext") -> dict[str, Tensor]:
    """Return copies of a network's weights and batch statistics in grouped form, under another library's names.

    torchvision and timm load them with `strict=True` where they have the architecture.
    Raises `ValueError` on an unknown naming.
    """
    if naming not in get_args(Naming):
        raise ValueError(f"naming = {naming!r}: allowed are {', '.join(get_args(Naming))}")
    grouped = convert_tensors(network.state_dict(), network.architecture, network.form, "grouped")
    if naming == "resnext":
        return grouped
    theirs = torchvision_names(network.architecture)
    return {theirs[name]: tensor for name, tensor in grouped.items()}


def torchvision_names(architecture: Architecture) -> dict[str, str]:
    """Map every tensor name of the grouped form to the name that torchvision and timm give it."""
    network = plan(architecture)
    layers = {"stem.conv": "conv1", "stem.norm": "bn1", "head": "fc"}
    for block in network.blocks:
        layers.update(_block_layers(block))
    own_names = (name.rpartition(".") for name in tensor_names(architecture))
    return {f"{layer}.{tensor}": f"{layers[layer]}.{tensor}" for layer, _, tensor in own_names}


def _block_layers(block: BlockPlan) -> dict[str, str]:
    index = block.name.rpartition(".")[2]
    theirs = f"layer{block.stage}.{index}"
    layers: dict[str, str] = {}
    for number, conv in enumerate(block.convs, start=1):
        layers[f"{conv.name}.conv"] = f"{theirs}.conv{number}"
        layers[f"{conv.name}.norm"] = f"{theirs}.bn{number}"
    if block.projection is not None:
        layers[f"{block.projection.name}.conv"] = f"{theirs}.downsample.0"
        layers[f"{block.projection.name}.norm"] = f"{theirs}.downsample.1"
    return layers


def to_grouped(tensors: Mapping[str, Tensor], architecture: Architecture) -> dict[str, Tensor]:
    """Give tensors of torchvision, timm or this library, in any form, the names and shapes of the grouped form.

    Names that are not recognised stay. Raises `ValueError` where paths are missing or do not fit together.
    """
    named, source = _recognise(tensors, architecture)
    return named if source == "grouped" else convert_tensors(named, architecture, source, "grouped")


def with_counters(tensors: Mapping[str, Tensor], own: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Add the counters of batches, zero, that older state dicts lack and `own`, those of the network, have."""
    missing = [name for name in own if name.endswith(_COUNTER) and name not in tensors]
    return {**tensors, **{name: torch.zeros((), dtype=torch.long) for name in missing}}


def unwrap(state_dict: Mapping[str, Any]) -> dict[str, Tensor]:
    """Open containers and take wrappers' prefixes off.

    Raises `ValueError` where something else than dense tensors of real numbers is left, one is there twice, or there
    is no end of containers.
    """
    tensors: dict[str, Tensor] = {}
    for full_name, value in _opened(state_dict).items():
        if fault := _fault(full_name, value):
            raise ValueError(f"{fault}; give a state dict")
        name = full_name
        while prefix := next((prefix for prefix in _PREFIXES if name.startswith(prefix)), None):
            name = name.removeprefix(prefix)
        if name in tensors:
            raise ValueError(f"{full_name}: {name} is there twice, under different prefixes")
        tensors[name] = value
    return tensors


def _opened(state_dict: Mapping[str, Any]) -> Mapping[str, Any]:
    """Open containers down to what has names. An unpickled one may hold itself, so that they are counted."""
    for _ in range(_MOST_WRAPPERS + 1):
        inner = next((state_dict[key] for key in _WRAPPERS if isinstance(state_dict.get(key), Mapping)), None)
        if inner is None:
            break
        state_dict = inner
    else:
        raise ValueError(
            f"the weights lie in more than {_MOST_WRAPPERS} containers ({', '.join(_WRAPPERS)}), one in another;"
            " give a state dict"
        )
    if foreign := next((type(name).__name__ for name in state_dict if not isinstance(name, str)), None):
        raise ValueError(f"a key is of type {foreign}, not the name of a tensor; give a state dict")
    return state_dict


def _fault(name: str, value: object) -> str:
    """Say why something cannot be a layer's weights or statistics; empty where it can."""
    if not isinstance(value, Tensor):
        return f"{name} holds a value of type {type(value).__name__}, not a tensor"
    if value.is_meta:
        return f"{name} is a meta tensor, which has a shape and no numbers"
    if value.is_quantized:
        return f"{name} is a quantised tensor, not one of floating-point numbers"
    if value.layout is not torch.strided or value.is_nested:
        return f"{name} is a sparse or a nested tensor, not a dense one"
    if not value.is_floating_point() and (not name.endswith(_COUNTER) or value.is_complex()):
        return f"{name} is a tensor of {str(value.dtype).removeprefix('torch.')}, not of floating-point numbers"
    return ""


def _recognise(tensors: Mapping[str, Tensor], architecture: Architecture) -> tuple[dict[str, Tensor], Form]:
    """Give tensors this library's names, and say in which form they are."""
    own = {theirs: name for name, theirs in torchvision_names(architecture).items()}
    if any(name in tensors for name in own):
        renamed = {own.get(name, name): tensor for name, tensor in tensors.items()}
        if len(renamed) < len(tensors):
            raise ValueError("the weights hold a layer twice, under torchvision's name and under this library's")
        return renamed, "grouped"
    if not any(".paths." in name for name in tensors):
        return dict(tensors), "grouped"
    is_aggregated = any(re.fullmatch(r"stages\.\d+\.\d+\.norm\.weight", name) for name in tensors)
    return dict(tensors), "aggregated" if is_aggregated else "concatenated"


def _check_names(tensors: Mapping[str, Tensor], own: Mapping[str, Tensor], architecture: Architecture) -> None:
    if differs := differing_names(tensors, own):
        raise ValueError(f"these are not the weights of {architecture.name}: {differs}")


def differing_names(tensors: Mapping[str, Tensor], own: Mapping[str, Tensor]) -> str:
    """Say which tensors are there that should not be, and which should be and are not; empty where none."""
    problems = []
    if unknown := [name for name in tensors if name not in own]:
        problems.append(f"not recognised: {listed(unknown)}")
    if missing := [name for name in own if name not in tensors]:
        problems.append(f"missing: {listed(missing)}")
    return "; ".join(problems)


def differing_shapes(tensors: Mapping[str, Tensor], own: Mapping[str, Tensor]) -> list[str]:
    """Name each tensor that has another shape than that of the same name, and both shapes."""
    return [
        f"{name} is {tuple(tensors[name].shape)}, the network's is {tuple(own[name].shape)}"
        for name in own
        if name in tensors and tensors[name].shape != own[name].shape
    ]


def _check_shapes(tensors: Mapping[str, Tensor], own: Mapping[str, Tensor]) -> None:
    different = [name for name in own if tensors[name].shape != own[name].shape]
    if not different:
        return
    theirs, ours = tensors["head.bias"].numel(), own["head.bias"].numel()
    if theirs != ours and all(name.startswith("head.") for name in different):
        raise ValueError(
            f"the weights' head has {theirs} classes, the network's has {ours};"
            " pass replace_head=True to keep the network's own head"
        )
    raise ValueError(f"wrong shapes: {listed(differing_shapes(tensors, own))}")


def listed(names: list[str]) -> str:
    """Join names by commas, and count those beyond the first dozen."""
    rest = f" and {len(names) - _MOST_NAMED} more" if len(names) > _MOST_NAMED else ""
    return ", ".join(names[:_MOST_NAMED]) + rest
