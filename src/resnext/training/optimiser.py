"""Stochastic gradient descent as the recipe says, which parameters it decays, and how fast each layer learns."""

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


def rate_scales(network: nn.Module, layer_decay: float) -> dict[str, float]:
    """Return, for every parameter by name, by what the learning rate is multiplied.

    `layer_decay` to the power of the distance from the head: 0 for the head, 1 for the last stage, most for the stem.
    """
    names = [name for name, _ in network.named_parameters()]
    num_stages = 1 + max(int(name.split(".")[1]) for name in names if name.startswith("stages."))
    distances = {"head": 0, "stem": num_stages + 1}

    def distance(name: str) -> int:
        part, _, rest = name.partition(".")
        return distances[part] if part in distances else num_stages - int(rest.partition(".")[0])

    return {name: layer_decay ** distance(name) for name in names}


def make_optimiser(network: nn.Module, optimiser: Optimiser, layer_decay: float = 1.0) -> torch.optim.SGD:
    """Make the SGD of a recipe over a network's parameters, in a group for each decay and each scale of the rate.

    A group's `lr` is to be the rate of the step times its `lr_scale`.
    """
    scales = rate_scales(network, layer_decay)
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    for name, decay in decay_of(network, optimiser).items():
        groups.setdefault((decay, scales[name]), []).append(network.get_parameter(name))
    rate = chosen(optimiser.learning_rate, "optimiser.learning_rate")
    return torch.optim.SGD(
        [
            {"params": parameters, "weight_decay": decay, "lr": rate * scale, "lr_scale": scale}
            for (decay, scale), parameters in groups.items()
        ],
        lr=rate,
        momentum=optimiser.momentum,
        nesterov=optimiser.nesterov and optimiser.momentum > 0,
        fused=next(network.parameters()).is_cuda or None,
    )
