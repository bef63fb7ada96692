"""What changes while a network trains, all of it: what a checkpoint holds."""

from collections.abc import Callable, Mapping
from copy import deepcopy
from dataclasses import asdict, dataclass, field

import torch
from torch import Tensor

from resnext.model.forms import build, convert_tensors
from resnext.model.ghost_norm import use_ghost_norm
from resnext.model.network import Network
from resnext.spec.recipe import Recipe
from resnext.spec.value import Spec
from resnext.training.machine import Machine
from resnext.training.optimiser import make_optimiser

_NETWORK, _AVERAGE, _MOMENTUM = "network", "average", "momentum"
_BUFFER = "momentum_buffer"


@dataclass(slots=True)
class Tally:
    """What the steps of an epoch added up to so far; `loss_sum` is over images, in nats."""

    num_images: int = 0
    num_correct: int = 0
    loss_sum: float = 0.0
    train_seconds: float = 0.0


class Position(Spec):
    """Where training stands, in words: all that a state holds beside tensors."""

    epoch: int
    step: int
    is_epoch_done: bool
    num_images: int
    num_correct: int
    loss_sum: float
    train_seconds: float
    scaler: dict[str, int | float] | None = None


@dataclass(slots=True)
class TrainingState:
    """The network and its optimiser after `step` steps; `epoch`, counted from 1, is the one under way or just done.

    `average` is the moving average of the weights, where the recipe keeps one; it is what is scored and shipped.
    An epoch is done once it is scored.
    """

    network: Network
    optimiser: torch.optim.SGD
    average: Network | None = None
    scaler: torch.amp.GradScaler | None = None
    epoch: int = 0
    step: int = 0
    is_epoch_done: bool = True
    tally: Tally = field(default_factory=Tally)

    @property
    def shipped(self) -> Network:
        """The network that is scored and shipped."""
        return self.network if self.average is None else self.average

    def begin_epoch(self) -> None:
        """Go on to the next epoch."""
        self.epoch += 1
        self.is_epoch_done = False
        self.tally = Tally()

    def position(self) -> Position:
        """Return where training stands."""
        return Position(
            epoch=self.epoch,
            step=self.step,
            is_epoch_done=self.is_epoch_done,
            scaler=None if self.scaler is None else self.scaler.state_dict(),
            **asdict(self.tally),
        )

    def tensors(self) -> dict[str, Tensor]:
        """Return copies of all tensors: weights, statistics and momentum, in grouped form whatever the network's."""
        parts: dict[str, Mapping[str, Tensor]] = {_NETWORK: self.network.state_dict(), _MOMENTUM: self._momentum()}
        if self.average is not None:
            parts[_AVERAGE] = self.average.state_dict()
        return {
            f"{part}.{name}": tensor
            for part, tensors in parts.items()
            for name, tensor in convert_tensors(
                tensors, self.network.architecture, self.network.form, "grouped"
            ).items()
        }

    def restore(self, position: Position, tensors: Mapping[str, Tensor]) -> None:
        """Take over what `position` and `tensors` returned, of a network of the same architecture in any form."""
        self.epoch, self.step, self.is_epoch_done = position.epoch, position.step, position.is_epoch_done
        self.tally = Tally(position.num_images, position.num_correct, position.loss_sum, position.train_seconds)
        if self.scaler is not None and position.scaler is not None:
            self.scaler.load_state_dict(position.scaler)
        parts: dict[str, dict[str, Tensor]] = {_NETWORK: {}, _MOMENTUM: {}, _AVERAGE: {}}
        for name, tensor in tensors.items():
            part, _, rest = name.partition(".")
            parts[part][rest] = tensor
        architecture, form = self.network.architecture, self.network.form
        own = {part: convert_tensors(held, architecture, "grouped", form) for part, held in parts.items()}
        self.network.load_state_dict(own[_NETWORK])
        if self.average is not None:
            self.average.load_state_dict(own[_AVERAGE])
        self.optimiser.state.clear()
        for name, momentum in own[_MOMENTUM].items():
            parameter = self.network.get_parameter(name)
            self.optimiser.state[parameter][_BUFFER] = torch.empty_like(parameter).copy_(momentum)

    def _momentum(self) -> dict[str, Tensor]:
        held = self.optimiser.state
        return {
            name: held[parameter][_BUFFER]
            for name, parameter in self.network.named_parameters()
            if held.get(parameter, {}).get(_BUFFER) is not None
        }


def initial_state(
    recipe: Recipe, seed: int, machine: Machine, device: torch.device, begin: Callable[[Network], None] | None = None
) -> TrainingState:
    """Return the state before the first step: weights drawn from the seed, in the machine's form and type.

    `begin`, if given, then puts others into the network, in place.
    """
    network = build(recipe.network(), machine.form, torch.Generator().manual_seed(seed))
    if begin is not None:
        begin(network)
    network = network.to(device, machine.dtype).to(memory_format=torch.channels_last)
    average = None if recipe.average_decay is None else deepcopy(network).eval().requires_grad_(False)
    if recipe.batch_norm_images is not None:
        use_ghost_norm(network, recipe.batch_norm_images)
    is_scaled = machine.autocast_dtype(device) == torch.float16
    return TrainingState(
        network,
        make_optimiser(network, recipe.optimiser, recipe.fine_tuning.layer_decay),
        average=average,
        scaler=torch.amp.GradScaler(device.type) if is_scaled else None,
    )


@torch.no_grad()
def follow(average: Network, network: Network, decay: float, step: int) -> None:
    """Move an average towards the network after a step, counted from 1.

    The decay rises to the recipe's as (1 + step) / (10 + step), so that the initial weights are soon forgotten.
    """
    weight = 1 - min(decay, (1 + step) / (10 + step))
    for mean, new in zip(average.state_dict().values(), network.state_dict().values(), strict=True):
        if mean.is_floating_point():
            mean.lerp_(new, weight)
        else:
            mean.copy_(new)
