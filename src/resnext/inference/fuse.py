"""Batch normalisation folded into the convolution before it: what a trained network computes, in fewer passes."""

from collections import Counter
from copy import deepcopy

import torch
from torch import Tensor, nn
from torch.nn.utils import fuse_conv_bn_eval

_RELATIVE_TOLERANCE = 1e-3


@torch.no_grad()
def fuse(network: nn.Module, example: Tensor) -> nn.Module:
    """Return a copy in evaluation mode whose convolutions have taken in the batch normalisation that reads them.

    Any module will do: which normalisation reads which convolution is seen on `example`, a batch of its input. Where
    the copy does not compute the same on it, because something else reads a convolution too, nothing is folded.
    """
    plain = deepcopy(network).eval()
    expected = plain(example)
    folded = deepcopy(plain)
    for conv, norm in _pairs(folded, example):
        fused = fuse_conv_bn_eval(folded.get_submodule(conv), folded.get_submodule(norm))  # type: ignore[type-var, arg-type]
        folded.set_submodule(conv, fused)
        folded.set_submodule(norm, nn.Identity())
    tolerance = _RELATIVE_TOLERANCE * float(expected.abs().max())
    return folded if torch.allclose(folded(example), expected, rtol=0, atol=tolerance) else plain


def _pairs(network: nn.Module, example: Tensor) -> list[tuple[str, str]]:
    """Return the names of each convolution and of the batch normalisation that reads it, each of them used once."""
    made: dict[int, tuple[str, Tensor]] = {}
    found: list[tuple[str, str]] = []
    calls: Counter[str] = Counter()

    def watch(name: str, module: nn.Module) -> torch.utils.hooks.RemovableHandle:
        def see(_: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
            calls[name] += 1
            if isinstance(module, nn.Conv2d):
                made[id(output)] = (name, output)  # the tensor is held, so that no other takes its place
            elif id(inputs[0]) in made:
                found.append((made[id(inputs[0])][0], name))

        return module.register_forward_hook(see)

    # Exactly these: a subclass, such as timm's normalisation with its activation, does more than its base.
    watched = [watch(name, module) for name, module in network.named_modules() if type(module) in _FOLDED]
    try:
        network(example)
    finally:
        for handle in watched:
            handle.remove()
    return [pair for pair in found if all(calls[name] == 1 for name in pair)]


_FOLDED = (nn.Conv2d, nn.BatchNorm2d)
