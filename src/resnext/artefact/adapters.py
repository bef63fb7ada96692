"""Weights under other libraries' names: torchvision's and timm's, which are one and the same table, both ways."""

import re
from collections.abc import Mapping
from typing import Any, Literal, get_args

import torch
from torch import Tensor

from resnext.model.blocks import Form
from resnext.model.forms import convert_tensors, tensor_names
from resnext.model.network import Network
from resnext.spec.architecture import Architecture
from resnext.spec.plan import BlockPlan, plan

Naming = Literal["resnext", "torchvision", "timm"]

_WRAPPERS = ("state_dict", "model")
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
    tensors, source = _recognise(_unwrap(state_dict), architecture)
    if source != "grouped":
        tensors = convert_tensors(tensors, architecture, source, "grouped")
    own = convert_tensors(network.state_dict(), architecture, network.form, "grouped")
    if replace_head:
        tensors.update({name: tensor for name, tensor in own.items() if name.startswith("head.")})
    counters = {name: torch.zeros_like(tensor) for name, tensor in own.items() if name.endswith(_COUNTER)}
    tensors = {**counters, **tensors}
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


def _unwrap(state_dict: Mapping[str, Any]) -> dict[str, Tensor]:
    """Open containers, take wrappers' prefixes off, and make sure that what is left are tensors."""
    while inner := next((state_dict[key] for key in _WRAPPERS if isinstance(state_dict.get(key), Mapping)), None):
        state_dict = inner
    tensors: dict[str, Tensor] = {}
    for full_name, value in state_dict.items():
        name = full_name
        while prefix := next((prefix for prefix in _PREFIXES if name.startswith(prefix)), None):
            name = name.removeprefix(prefix)
        if not isinstance(value, Tensor):
            raise ValueError(
                f"{full_name} holds a value of type {type(value).__name__}, not a tensor; give a state dict"
            )
        if name in tensors:
            raise ValueError(f"{full_name}: {name} is there twice, under different prefixes")
        tensors[name] = value
    return tensors


def _recognise(tensors: dict[str, Tensor], architecture: Architecture) -> tuple[dict[str, Tensor], Form]:
    """Give tensors this library's names, and say in which form they are."""
    own = {theirs: name for name, theirs in torchvision_names(architecture).items()}
    if any(name in tensors for name in own):
        renamed = {own.get(name, name): tensor for name, tensor in tensors.items()}
        if len(renamed) < len(tensors):
            raise ValueError("the weights hold a layer twice, under torchvision's name and under this library's")
        return renamed, "grouped"
    if not any(".paths." in name for name in tensors):
        return tensors, "grouped"
    is_aggregated = any(re.fullmatch(r"stages\.\d+\.\d+\.norm\.weight", name) for name in tensors)
    return tensors, "aggregated" if is_aggregated else "concatenated"


def _check_names(tensors: Mapping[str, Tensor], own: Mapping[str, Tensor], architecture: Architecture) -> None:
    problems = []
    if unknown := [name for name in tensors if name not in own]:
        problems.append(f"not recognised: {_listed(unknown)}")
    if missing := [name for name in own if name not in tensors]:
        problems.append(f"missing: {_listed(missing)}")
    if problems:
        raise ValueError(f"these are not the weights of {architecture.name}: {'; '.join(problems)}")


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
    shapes = [
        f"{name} is {tuple(tensors[name].shape)}, the network's is {tuple(own[name].shape)}" for name in different
    ]
    raise ValueError(f"wrong shapes: {_listed(shapes)}")


def _listed(names: list[str]) -> str:
    rest = f" and {len(names) - _MOST_NAMED} more" if len(names) > _MOST_NAMED else ""
    return ", ".join(names[:_MOST_NAMED]) + rest
