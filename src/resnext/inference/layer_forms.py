"""The ways to compute a grouped convolution, all equal, and how to put the chosen ones into a network.

Its groups can be merged p at a time (`resnext.model.packed`), and its maps can lie in memory in two layouts. A network
computes in channels_last here, and every variant takes and gives such maps, so that it can stand in for the layer.
"""

from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass
from typing import Literal, TypeVar

import torch
from torch import Tensor, nn

from resnext.model.packed import pack

Layout = Literal["channels_last", "contiguous"]

MEMORY_FORMATS: dict[Layout, torch.memory_format] = {
    "channels_last": torch.channels_last,
    "contiguous": torch.contiguous_format,
}

Module = TypeVar("Module", bound=nn.Module)


class LaidOut(nn.Module):
    """Hands a map on in a memory format."""

    def __init__(self, memory_format: torch.memory_format) -> None:
        super().__init__()
        self.memory_format = memory_format

    def forward(self, x: Tensor) -> Tensor:
        """Return the same map, moved in memory where it has to be."""
        return x.contiguous(memory_format=self.memory_format)


@dataclass(frozen=True, slots=True)
class Variant:
    """A way to compute a grouped convolution: how many of its groups are merged in one, and how maps lie in memory."""

    merged_groups: int = 1
    layout: Layout = "channels_last"

    def form(self, groups: int) -> str:
        """Name what becomes of a convolution of so many groups: it stays grouped, is packed, or is dense."""
        if self.merged_groups == 1:
            return "grouped"
        return "dense" if self.merged_groups == groups else f"packed by {self.merged_groups}"

    def of(self, conv: nn.Conv2d) -> nn.Module:
        """Return a new module that computes the same in this way, from a channels_last map to a channels_last map.

        Raises `ValueError` where `pack` cannot merge the groups so.
        """
        inside = MEMORY_FORMATS[self.layout]
        packed = pack(conv, self.merged_groups).to(memory_format=inside)
        if self.layout == "channels_last":
            return packed
        return nn.Sequential(LaidOut(inside), packed, LaidOut(torch.channels_last))


DEFAULT = Variant()


def apply_forms(network: Module, variants: Mapping[str, Variant]) -> Module:
    """Return a copy of a network whose convolutions of these names are computed in these ways; the answers are equal.

    The rest of the copy is as it was; call it with channels_last weights and images. Do so after anything that moves
    or folds weights: a later `to(memory_format=...)` would undo a layout.
    Raises `ValueError` where the network has no convolution of a name, or not one that can be computed so.
    """
    changed = deepcopy(network)
    modules = dict(changed.named_modules())
    for name, variant in variants.items():
        conv = modules.get(name)
        if not isinstance(conv, nn.Conv2d):
            raise ValueError(f"{name!r} is no convolution of this network; give names that grouped_layers finds in it")
        try:
            changed.set_submodule(name, variant.of(conv))
        except ValueError as error:
            raise ValueError(f"{name}: {error}") from None
    return changed
