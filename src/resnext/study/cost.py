"""What runs will cost: multiply-accumulates, by the speed that was measured on this machine."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from statistics import median

from resnext.data.dataset import Data
from resnext.spec.complexity import complexity
from resnext.spec.recipe import chosen
from resnext.study.design import Trial, protocol_of
from resnext.study.ledger import Outcome
from resnext.training.forecast import forecast_of
from resnext.training.machine import Machine, num_cores
from resnext.training.task import Task
from resnext.training.world import World

_TAME_RATE = 1e-6
_STEP_COST = 3  # of forward passes: the backward pass costs about two


@dataclass(frozen=True, slots=True, kw_only=True)
class Costs:
    """What runs cost on a machine: `known` seconds of runs of the same recipe and form, and a speed for the others.

    `macs_per_second` is that of whole runs, with all that a run does beside computing.
    """

    data: Data
    known: dict[tuple[str, str], float]
    macs_per_second: float

    def seconds(self, trial: Trial) -> float:
        """Return how long a trial takes, and its further views."""
        whole = self.known.get((trial.recipe.digest(), trial.form))
        if whole is None:
            whole = _work(trial, self.data) / self.macs_per_second
        return whole + self._views(trial) / self.macs_per_second

    def _views(self, trial: Trial) -> float:
        num_held_out = len(self.data.split(self.data.selection).labels)
        protocols = [protocol_of(view, trial.recipe) for view in trial.views]
        return sum(
            protocol.num_views
            * num_held_out
            * complexity(trial.recipe.network(), protocol.preprocessing.image_size).macs
            for protocol in protocols
        )


def costs(data: Data, machine: Machine, outcomes: Iterable[Outcome], measured: Callable[[], float]) -> Costs:
    """Return what runs on data cost, from those made of it on this machine; if there are none, at `measured` speed."""
    device = str(machine.torch_device())
    here = (data.digest, device, num_cores(), machine.precision)
    alike = [
        outcome
        for outcome in outcomes
        if (outcome.data_digest, outcome.device, outcome.num_cores, outcome.precision) == here and not outcome.failure
    ]
    known: dict[tuple[str, str], list[float]] = {}
    for outcome in alike:
        known.setdefault((outcome.recipe.digest(), outcome.form), []).append(outcome.wall_seconds)
    speeds = [_work(outcome, data) / outcome.wall_seconds for outcome in alike]
    return Costs(
        data=data,
        known={key: median(seconds) for key, seconds in known.items()},
        macs_per_second=median(speeds) if speeds else measured(),
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


def _work(run: Trial | Outcome, data: Data) -> int:
    """Return the multiply-accumulates of a run: training, a scoring after each epoch, and one at the end."""
    num_training, num_held_out = len(data.split("train").labels), len(data.split(data.selection).labels)
    epochs = chosen(run.recipe.epochs, "epochs")
    forward = complexity(run.recipe.network(), run.recipe.preprocessing().image_size).macs
    return forward * (_STEP_COST * num_training * epochs + num_held_out * (epochs + 1))
