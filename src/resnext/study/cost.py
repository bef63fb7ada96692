"""What runs will cost: multiply-accumulates, by the speed that was measured on this machine."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from statistics import median

import torch

from resnext.data.dataset import Data
from resnext.model.device import processor
from resnext.spec.complexity import complexity
from resnext.spec.plan import Form
from resnext.spec.recipe import chosen
from resnext.study.design import Trial, protocol_of
from resnext.study.ledger import Outcome
from resnext.training.forecast import forecast_of
from resnext.training.machine import Machine, num_cores
from resnext.training.task import Task
from resnext.training.world import World

_STEP_COST = 3  # of forward passes: the backward pass costs about two
_TAME_RATE = 1e-6


@dataclass(frozen=True, slots=True, kw_only=True)
class Costs:
    """What runs on data cost on this machine: `made` are those made here, `measured` the speed of a form without any.

    A speed is in multiply-accumulates a second of whole runs, with all that a run does beside computing.
    """

    data: Data
    made: tuple[Outcome, ...]
    measured: Callable[[Form], float]

    def seconds(self, trial: Trial, fraction: float = 1.0) -> float:
        """Return how long a fraction of a trial takes, and its further views."""
        own = (trial.recipe.digest(), trial.form)
        same = [made.wall_seconds for made in self.made if (made.recipe.digest(), made.form) == own]
        speed = self._speed(trial.form)
        whole = median(same) if same else _work(trial, self.data) / speed
        return fraction * whole + self._views(trial) / speed

    def _speed(self, form: Form) -> float:
        speeds = [_work(made, self.data) / made.wall_seconds for made in self.made if made.form == form]
        return median(speeds) if speeds else self.measured(form)

    def _views(self, trial: Trial) -> float:
        num_held_out = len(self.data.split(self.data.selection).labels)
        protocols = [protocol_of(view, trial.recipe) for view in trial.views]
        return sum(
            protocol.num_views
            * num_held_out
            * complexity(trial.recipe.network(), protocol.preprocessing.image_size).macs
            for protocol in protocols
        )


def made_here(outcomes: Iterable[Outcome], data: Data, machine: Machine) -> tuple[Outcome, ...]:
    """Return the runs on data that ended well on a machine like this one, used in the same way."""
    here = (data.digest, *_way(machine))
    return tuple(
        outcome
        for outcome in outcomes
        if outcome.failure is None
        and here
        == (
            outcome.data_digest,
            outcome.processor,
            outcome.num_cores,
            outcome.num_threads,
            outcome.precision,
            outcome.is_compiled,
        )
    )


def measured_speed(trial: Trial, data: Data, machine: Machine) -> float:
    """Return the multiply-accumulates a second of a trial, from some timed steps of it.

    Raises `MemoryError` where memory does not suffice for it.
    """
    # At a rate at which no loss becomes infinite: only the time is of interest, and it is the same.
    tame = trial.recipe.replace(optimiser=trial.recipe.optimiser.replace(learning_rate=_TAME_RATE))
    found = forecast_of(Task(data=data, recipe=tame, seed=trial.seed), machine, World())
    if found.duration is None:
        raise MemoryError(f"{trial.name}: {found.advice}")
    return _work(trial, data) / found.duration.run_seconds


def _way(machine: Machine) -> tuple[str, int, int, str, bool]:
    named = processor(machine.torch_device())
    return named, num_cores(), torch.get_num_threads(), machine.precision, machine.compiles


def _work(run: Trial | Outcome, data: Data) -> int:
    """Return the multiply-accumulates of a run: training, a scoring after each epoch, and one at the end."""
    num_training, num_held_out = len(data.split("train").labels), len(data.split(data.selection).labels)
    epochs = chosen(run.recipe.epochs, "epochs")
    forward = complexity(run.recipe.network(), run.recipe.preprocessing().image_size).macs
    return forward * (_STEP_COST * num_training * epochs + num_held_out * (epochs + 1))
