"""Initial weights as in the authors' code: He normal over all groups' outputs, identity batch norm, Torch's linear."""

import math
from dataclasses import dataclass

import torch
from torch import nn

from resnext.model.network import Network


@dataclass(frozen=True, slots=True)
class Normal:
    """A normal distribution around zero."""

    std: float


@dataclass(frozen=True, slots=True)
class Uniform:
    """A uniform distribution on [-bound, bound]."""

    bound: float


@dataclass(frozen=True, slots=True)
class Constant:
    """One value everywhere."""

    value: float


Distribution = Normal | Uniform | Constant


def distributions(module: nn.Module) -> dict[str, Distribution]:
    """Return the distribution from which each parameter directly in a layer is drawn.

    Convolutions: std sqrt(2 / (k * k * n_out)), where n_out counts the channels of all groups. Batch norm: scale 1
    (also the last of a block), shift 0. Linear: bias 0, weights uniform up to 1 / sqrt(n_in), Torch7's default.
    """
    match module:
        case nn.Conv2d():
            height, width = module.kernel_size
            return {"weight": Normal(math.sqrt(2 / (height * width * module.out_channels)))}
        case nn.BatchNorm2d():
            return {"weight": Constant(1.0), "bias": Constant(0.0)}
        case nn.Linear():
            return {"weight": Uniform(1 / math.sqrt(module.in_features)), "bias": Constant(0.0)}
    return {}


@torch.no_grad()
def initialise(network: Network, generator: torch.Generator | None = None) -> None:
    """Draw all weights of a network in form (c) anew, in place, and reset its batch statistics.

    Without a `generator`, torch's global one is used. Raises `ValueError` on another form, whose paths do not know
    the outputs of all groups.
    """
    if network.form != "grouped":
        raise ValueError(f"form = {network.form!r}: weights are drawn in 'grouped' form and then converted")
    for module in network.modules():
        for name, distribution in distributions(module).items():
            _draw(module.get_parameter(name), distribution, generator)
        if isinstance(module, nn.BatchNorm2d):
            module.reset_running_stats()


def _draw(parameter: torch.Tensor, distribution: Distribution, generator: torch.Generator | None) -> None:
    match distribution:
        case Normal(std):
            parameter.normal_(0.0, std, generator=generator)
        case Uniform(bound):
            parameter.uniform_(-bound, bound, generator=generator)
        case Constant(value):
            parameter.fill_(value)
