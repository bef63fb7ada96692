"""Which form each grouped convolution takes on an engine of this machine: as was measured, and remembered."""

from collections.abc import Mapping
from typing import get_args

from torch import Tensor, nn

from resnext.inference.engine import EngineName, FloatPrecision
from resnext.inference.layer_forms import Layout, Variant
from resnext.inference.remembered import Memory, key_of

_FORMS = Memory("forms")


def remember_forms(
    network: nn.Module, example: Tensor, engine: EngineName, precision: FloatPrecision, forms: Mapping[str, Variant]
) -> None:
    """Keep the ways in which layers are fastest, by their names, for a folded network and batches like the example."""
    held = {name: [variant.merged_groups, variant.layout] for name, variant in forms.items()}
    _FORMS.remember(key_of(network, example, engine, precision), held)


def recall_forms(
    network: nn.Module, example: Tensor, engine: EngineName, precision: FloatPrecision
) -> dict[str, Variant]:
    """Return the ways in which layers of a folded network are to be computed; none where nothing was measured."""
    held = _FORMS.recall(key_of(network, example, engine, precision))
    if not isinstance(held, dict):
        return {}
    convs = {name: module for name, module in network.named_modules() if isinstance(module, nn.Conv2d)}
    return {name: Variant(*kept) for name, kept in held.items() if name in convs and _fits(convs[name], kept)}


def _fits(conv: nn.Conv2d, kept: object) -> bool:
    """Tell whether something in the file, which may be damaged, is a way to compute a convolution."""
    match kept:
        case [int(merged), str(layout)]:
            return merged > 0 and conv.groups % merged == 0 and layout in get_args(Layout)
    return False
