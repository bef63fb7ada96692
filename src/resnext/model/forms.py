"""The three equivalent forms of the block (Fig. 3, section 3.3) and exact conversion between any two of them.

(a) `aggregated` sums C paths of 1x1, 3x3, 1x1; (b) `concatenated` joins C paths of 1x1, 3x3 before one 1x1;
(c) `grouped` is one path whose 3x3 has C groups. A path's weights, and its batch statistics, are a slice of the
grouped tensors, so conversion is slicing and joining: it works on any tensors shaped like the parameters, such as
momentum or averaged weights.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import reduce
from typing import ClassVar, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from resnext.model.blocks import Bottleneck, ConvNorm, Map, bare_conv, join, make_shortcut
from resnext.model.initialise import initialise
from resnext.model.network import Network
from resnext.spec.architecture import Architecture
from resnext.spec.architecture import architecture as parse
from resnext.spec.plan import BlockPlan, Form, plan

NORM_TENSORS = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")


class Path(nn.Module):
    """The first two layers of one transformation T_i: 1x1 to d channels, then 3x3, each with BN and ReLU."""

    def __init__(self, plan: BlockPlan) -> None:
        super().__init__()
        width = plan.inner_channels // plan.cardinality
        self.reduce = ConvNorm(replace(plan.conv("reduce"), out_channels=width))
        self.transform = ConvNorm(replace(plan.conv("transform"), in_channels=width, out_channels=width, groups=1))

    def forward(self, x: Map) -> Map:
        """Map (batch, in, height, width) to (batch, d, height / stride, width / stride)."""
        y = F.relu(self.reduce(x), inplace=True)
        return F.relu(self.transform(y), inplace=True)


class AggregatedBottleneck(nn.Module):
    """Form (a): y = x + sum of T_i(x) over C paths (Eq. 3), normalised after the sum (footnote 6)."""

    form: ClassVar[Form] = "aggregated"

    def __init__(self, plan: BlockPlan) -> None:
        super().__init__()
        width = plan.inner_channels // plan.cardinality
        self.paths = nn.ModuleList(Path(plan) for _ in range(plan.cardinality))
        self.expand = nn.ModuleList(bare_conv(replace(plan.conv("expand"), in_channels=width)) for _ in self.paths)
        self.norm = nn.BatchNorm2d(plan.out_channels)
        self.shortcut = make_shortcut(plan)

    def forward(self, x: Map) -> Map:
        """Map (batch, in, height, width) to (batch, out, height / stride, width / stride)."""
        transformed = (expand(path(x)) for path, expand in zip(self.paths, self.expand, strict=True))
        return join(self.norm(reduce(torch.add, transformed)), x, self.shortcut)


class ConcatenatedBottleneck(nn.Module):
    """Form (b): C paths joined along channels, then one 1x1."""

    form: ClassVar[Form] = "concatenated"

    def __init__(self, plan: BlockPlan) -> None:
        super().__init__()
        self.paths = nn.ModuleList(Path(plan) for _ in range(plan.cardinality))
        self.expand = ConvNorm(plan.conv("expand"))
        self.shortcut = make_shortcut(plan)

    def forward(self, x: Map) -> Map:
        """Map (batch, in, height, width) to (batch, out, height / stride, width / stride)."""
        concatenated = torch.cat([path(x) for path in self.paths], dim=1)
        return join(self.expand(concatenated), x, self.shortcut)


_BLOCKS = {block.form: block for block in (AggregatedBottleneck, ConcatenatedBottleneck, Bottleneck)}


def build(
    architecture: Architecture | str, form: Form = "grouped", generator: torch.Generator | None = None
) -> Network:
    """Make a network with the paper's initial weights; every form draws the same ones.

    Raises `ValueError` on an unknown form, or where paths are asked of basic blocks.
    """
    architecture = parse(architecture) if isinstance(architecture, str) else architecture
    with torch.device("meta"):
        network = Network(architecture)
    network.to_empty(device=torch.get_default_device())
    initialise(network, generator)
    return network if form == "grouped" else convert(network, form)


def convert(network: Network, form: Form) -> Network:
    """Return a new network in another form that computes the same, in training and in evaluation.

    The new network owns copies of the weights and batch statistics, at the same place, type and mode; gradients,
    `requires_grad` and the memory format are not carried over.
    Raises `ValueError` on an unknown form, or where paths are asked of basic blocks.
    """
    state = convert_tensors(network.state_dict(), network.architecture, network.form, form)
    converted = skeleton(network.architecture, form)
    converted.load_state_dict(state, assign=True)
    return converted.train(network.training)


def skeleton(architecture: Architecture, form: Form = "grouped") -> Network:
    """Make a network in a form on the meta device: shapes without memory, to be filled by `load_state_dict`."""
    _check_form(architecture, form)
    with torch.device("meta"):
        network = Network(architecture)
        if form != "grouped":
            for block in plan(architecture).blocks:
                network.set_submodule(block.name, _BLOCKS[form](block))
    return network


def convert_tensors(
    tensors: Mapping[str, Tensor], architecture: Architecture, source: Form, target: Form
) -> dict[str, Tensor]:
    """Convert tensors named and shaped like the parameters or buffers of one form to those of another.

    Not every tensor needs to be there, so that momentum (parameters only) converts too. All results are copies.
    A scalar, such as `num_batches_tracked`, is copied to each path and must agree between paths on the way back.
    Raises `ValueError` where paths are missing or disagree, or a name does not belong to the `source` form.
    """
    _check_form(architecture, source)
    _check_form(architecture, target)
    rules = {rule.whole: rule for rule in _rules(architecture, target)}
    result: dict[str, Tensor] = {}
    for name, tensor in _merge(tensors, architecture, source).items():
        parts, dim = (rules[name].parts, rules[name].dim) if name in rules else ((name,), 0)
        if tensor.ndim and tensor.shape[dim] % len(parts):
            raise ValueError(f"{name} of shape {tuple(tensor.shape)} cannot be cut into {len(parts)} paths")
        slices = tensor.chunk(len(parts), dim) if tensor.ndim else [tensor] * len(parts)
        for part, piece in zip(parts, slices, strict=True):
            result[part] = piece.clone(memory_format=torch.contiguous_format)
    return result


def tensor_names(architecture: Architecture) -> list[str]:
    """Return the names of all parameters and buffers of form (c), layer by layer."""
    network = plan(architecture)
    names: list[str] = []
    for conv in network.convs():
        names += [f"{conv.name}.conv.weight", *(f"{conv.name}.norm.{tensor}" for tensor in NORM_TENSORS)]
    return [*names, f"{network.head.name}.weight", f"{network.head.name}.bias"]


def _check_form(architecture: Architecture, form: Form) -> None:
    if form not in get_args(Form):
        raise ValueError(f"form = {form!r}: allowed are {', '.join(get_args(Form))}")
    if form != "grouped" and architecture.block != "bottleneck":
        raise ValueError(f"form = {form!r}: {architecture.name} has basic blocks, which have no paths; use 'grouped'")


@dataclass(frozen=True, slots=True)
class _Rule:
    """One tensor of the grouped form and the tensors that hold its slices along `dim` in another form."""

    whole: str
    parts: tuple[str, ...]
    dim: int = 0


def _rules(architecture: Architecture, form: Form) -> Iterator[_Rule]:
    """Yield a rule for every grouped tensor that has another name, or other pieces, in `form`."""
    if form == "grouped":
        return
    for block in plan(architecture).blocks:
        paths = [f"{block.name}.paths.{path}" for path in range(block.cardinality)]
        for role in ("reduce", "transform"):
            for tensor in ("conv.weight", *(f"norm.{tensor}" for tensor in NORM_TENSORS)):
                yield _Rule(f"{block.name}.{role}.{tensor}", tuple(f"{path}.{role}.{tensor}" for path in paths))
        if form == "aggregated":
            expands = tuple(f"{block.name}.expand.{path}.weight" for path in range(block.cardinality))
            yield _Rule(f"{block.name}.expand.conv.weight", expands, dim=1)
            for tensor in NORM_TENSORS:
                yield _Rule(f"{block.name}.expand.norm.{tensor}", (f"{block.name}.norm.{tensor}",))


def _merge(tensors: Mapping[str, Tensor], architecture: Architecture, source: Form) -> dict[str, Tensor]:
    """Join the slices of the source form into the tensors of the grouped form."""
    remaining = dict(tensors)
    grouped: dict[str, Tensor] = {}
    rules = list(_rules(architecture, source))
    for rule in rules:
        pieces = [remaining.pop(part) for part in rule.parts if part in remaining]
        if not pieces:
            continue
        if len(pieces) != len(rule.parts):
            missing = next(part for part in rule.parts if part not in tensors)
            raise ValueError(f"{missing} is missing, though other paths of its block are there")
        for part, piece in zip(rule.parts, pieces, strict=True):
            if piece.shape != pieces[0].shape:
                shapes = f"{tuple(piece.shape)}, that of its block's first path {tuple(pieces[0].shape)}"
                raise ValueError(f"{part} has the shape {shapes}; the paths of a block are alike")
        grouped[rule.whole] = torch.cat(pieces, rule.dim) if pieces[0].ndim else _agreed(rule, pieces)
    shared = set(tensor_names(architecture)) - {rule.whole for rule in rules}
    if foreign := [name for name in remaining if name not in shared]:
        of_form = f"form {source!r} of {architecture.name}"
        raise ValueError(f"not recognised in {of_form}: {', '.join(foreign)}")
    return {**remaining, **grouped}


def _agreed(rule: _Rule, pieces: list[Tensor]) -> Tensor:
    if any(not torch.equal(piece, pieces[0]) for piece in pieces):
        values = ", ".join(str(piece.item()) for piece in pieces)
        raise ValueError(f"{rule.whole}: its paths disagree ({values}); they cannot be one grouped layer")
    return pieces[0]
