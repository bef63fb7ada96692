"""Stochastic gradient descent as the recipe says, and which parameters it decays."""

import torch
from torch import nn

from resnext.spec.recipe import Optimiser, chosen


def decay_of(network: nn.Module, optimiser: Optimiser) -> dict[str, float]:
    """Return the weight decay of every parameter by name.

    The authors decay all parameters, batch norm and biases too; `decays = "weights"` spares those of one dimension.
    """
    return {
        name: optimiser.weight_decay if optimiser.decays == "all" or parameter.ndim > 1 else 0.0
        for name, parameter in network.named_parameters()
    }


def make_optimiser(network: nn.Module, optimiser: Optimiser) -> torch.optim.SGD:
    """Make the SGD of a recipe over a network's parameters, in a group for each decay."""
    groups: dict[float, list[nn.Parameter]] = {}
    for name, decay in decay_of(network, optimiser).items():
        groups.setdefault(decay, []).append(network.get_parameter(name))
    return torch.optim.SGD(
        [{"params": parameters, "weight_decay": decay} for decay, parameters in groups.items()],
        lr=chosen(optimiser.learning_rate, "optimiser.learning_rate"),
        momentum=optimiser.momentum,
        nesterov=optimiser.nesterov and optimiser.momentum > 0,
    )
