"""A study carried out: what is still to be made, in the order that tells most soonest, within a budget of time."""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property

from resnext.data.dataset import Data
from resnext.spec.value import SpecError
from resnext.study.cost import Costs, costs, measured_speed
from resnext.study.design import OWN, Study, Trial, trials
from resnext.study.ledger import Asked, Ledger, key_of
from resnext.study.trial import Watch, run_trial, to_the_end
from resnext.training.machine import Machine
from resnext.training.task import adapt

_SECONDS_BETWEEN_LOOKS = 1.0
_NEARLY_IMAGENET = 1_200_000  # of its 1,281,167 training images; a few are often left out as damaged


@dataclass(frozen=True, slots=True, kw_only=True)
class Outlook:
    """What a study still needs: its trials, the seconds of each, how many are done, and how many the budget buys."""

    pending: tuple[Trial, ...]
    seconds: tuple[float, ...]
    num_done: int
    num_affordable: int


@dataclass(frozen=True, slots=True)
class Turn:
    """A trial that is about to be made, its place among all of the study, and the seconds that all others will take."""

    trial: Trial
    number: int
    num_trials: int
    seconds_left: float


@dataclass(kw_only=True)
class Runner:
    """Carries out a study with so many seeds, each run once, whoever else writes the same ledger.

    `only` names the settings that are made, all where it is empty. `seconds` is the budget, None for as long as it
    takes: a run is begun where its forecast fits into what is left, and `watch`, which goes through the run, is to stop
    at `deadline` one that takes longer.
    """

    study: Study
    data: Data
    ledger: Ledger
    num_seeds: int
    only: Sequence[str] = ()
    machine: Machine = field(default_factory=Machine)
    seconds: float | None = None
    watch: Watch = to_the_end
    clock: Callable[[], float] = time.perf_counter

    def __post_init__(self) -> None:
        if self.num_seeds < 1:
            raise SpecError(f"seeds = {self.num_seeds}: at least 1 is needed, and 2 for an interval")
        self.study = resolved(self.study, self.data, self.machine)
        self.trials = trials(self.study.only(self.only) if self.only else self.study, self.num_seeds)
        self._began = self.clock()

    @property
    def deadline(self) -> float:
        """When the budget is spent, by the runner's clock."""
        return float("inf") if self.seconds is None else self._began + self.seconds

    @property
    def num_left(self) -> int:
        """How many runs are still to be made."""
        return len(self._pending())

    def outlook(self) -> Outlook:
        """Return what is still to be made and what it costs; takes some seconds where no run was made here before."""
        pending = self._pending()
        known = self._costs() if pending else None
        seconds = tuple(known.seconds(trial) for trial in pending) if known else ()
        num_affordable = _num_within(seconds, self.deadline - self.clock())
        return Outlook(
            pending=pending,
            seconds=seconds,
            num_done=len(self.trials) - len(pending),
            num_affordable=num_affordable,
        )

    def ask(self) -> None:
        """Write the study into the ledger, unless it stands there as it is, so that it is reported."""
        data = self.data
        asked = Asked(study=self.study, data=data.source, data_digest=data.digest, num_seeds=self.num_seeds)
        if asked not in self.ledger.read().asked:
            self.ledger.append(asked)

    def __iter__(self) -> Iterator[Turn]:
        """Make what is still to be made; yield each trial before it is begun, and end where nothing more fits.

        A trial that another process makes is left to it, and looked after again at the end, for that process may stop.
        """
        self.ask()
        while pending := self._pending():
            known = self._costs()
            left = self.deadline - self.clock()
            fitting = [trial for trial in pending if known.seconds(trial) <= left]
            if not fitting:
                return
            with self._claimed(fitting) as trial:
                if trial is None:
                    time.sleep(_SECONDS_BETWEEN_LOOKS)
                    continue
                number = len(self.trials) - len(pending) + 1
                yield Turn(trial, number, len(self.trials), sum(map(known.seconds, pending)))
                outcome = run_trial(
                    trial, self.data, self.ledger.run_folder(self._key(trial)), self.machine, self.watch
                )
                if outcome is None:
                    return
                self.ledger.append(outcome)

    @contextmanager
    def _claimed(self, candidates: Sequence[Trial]) -> Iterator[Trial | None]:
        """Hold the first trial that no other process makes or has made meanwhile; None where there is none."""
        for trial in candidates:
            with self.ledger.claim(self._key(trial)) as is_ours:
                if is_ours and trial in self._pending():
                    yield trial
                    return
        yield None

    def _pending(self) -> tuple[Trial, ...]:
        outcomes = self.ledger.read().outcomes
        return tuple(
            trial
            for trial in self.trials
            if (key := self._key(trial)) not in outcomes or not outcomes[key].answers(trial)
        )

    def _costs(self) -> Costs:
        outcomes = self.ledger.read().outcomes.values()
        return costs(self.data, self.machine, outcomes, lambda: self._measured_speed)

    @cached_property
    def _measured_speed(self) -> float:
        return measured_speed(self.trials[0], self.data, self.machine)

    def _key(self, trial: Trial) -> str:
        return key_of(trial.recipe, trial.seed, trial.form, self.data.digest)


def resolved(study: Study, data: Data, machine: Machine) -> Study:
    """Return a study whose recipes are resolved for data on a machine; on other data than the paper's it is a proxy."""
    return study.replace(
        settings=[setting.replace(recipe=adapt(setting.recipe, data, machine)[0]) for setting in study.settings],
        is_proxy=study.is_proxy or not _is_papers(study, data),
    )


def _is_papers(study: Study, data: Data) -> bool:
    """Tell whether data is, as far as can be seen, what the paper trained on; users' own studies claim nothing."""
    if study.scale == "imagenet":
        return len(data.class_names) == 1000 and len(data.split("train").labels) > _NEARLY_IMAGENET
    return study.scale == OWN or data.source in ("cifar10", "cifar100")


def _num_within(seconds: Sequence[float], budget: float) -> int:
    """Return how many trials fit into a budget, those that do not being passed over."""
    number = 0
    for each in seconds:
        if each <= budget:
            number, budget = number + 1, budget - each
    return number
