"""What changes while a network trains."""

from dataclasses import dataclass

import torch

from resnext.model.network import Network


@dataclass(slots=True)
class TrainingState:
    """The network and its optimiser after `step` steps; `epoch`, counted from 1, is the one under way or just done."""

    network: Network
    optimiser: torch.optim.Optimizer
    epoch: int = 0
    step: int = 0
