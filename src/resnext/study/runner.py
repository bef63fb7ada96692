"""A study carried out: what is still to be made, in the order that tells most soonest, within a budget of time."""

import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

from resnext.data.dataset import Data
from resnext.spec.plan import Form
from resnext.spec.value import SpecError
from resnext.study.cost import Costs, made_here, measured_speed
from resnext.study.design import OWN, Study, Trial, trials
from resnext.study.ledger import Asked, Ledger, LedgerError, Pages, key_of
from resnext.study.trial import Watch, run_trial, to_the_end
from resnext.training.folder import RunFolder
from resnext.training.machine import Machine
from resnext.training.task import Task, adapt

_SECONDS_BETWEEN_LOOKS = 1.0
_NEARLY_IMAGENET = 1_200_000  # of its 1,281,167 training images; a few are often left out as damaged


@dataclass(frozen=True, slots=True, kw_only=True)
class Outlook:
    """What a study still needs: its trials, their forecasts, how many are done, and how many the budget buys."""

    pending: tuple[Trial, ...]
    forecast_seconds: tuple[float, ...]
    num_done: int
    num_affordable: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """A trial that is about to be made; None while other processes make all that is left.

    `number` is its place among the `num_trials` of the study, `forecast_seconds` what all that is left will take.
    """

    trial: Trial | None
    number: int
    num_trials: int
    forecast_seconds: float


@dataclass(kw_only=True)
class Runner:
    """Carries out a study with so many seeds, each run once, whoever else writes the same ledger.

    `only` names the settings that are made, all where it is empty; `wanted` is the study of those. A run is begun where
    its forecast fits into what is left of `budget_seconds`, None for as long as it takes, and `watch`, which goes
    through the run, is to stop at `deadline` one that takes longer. `passed_over` says, by their keys, why runs were
    left out that memory did not suffice for.
    """

    study: Study
    data: Data
    ledger: Ledger
    num_seeds: int
    only: Sequence[str] = ()
    machine: Machine = field(default_factory=Machine)
    budget_seconds: float | None = None
    watch: Watch = to_the_end
    clock: Callable[[], float] = time.perf_counter

    def __post_init__(self) -> None:
        if self.num_seeds < 1:
            raise SpecError(f"seeds = {self.num_seeds}: at least 1 is needed, and 2 for an interval")
        self.study = resolved(self.study, self.data, self.machine)
        self.wanted = self.study.only(self.only) if self.only else self.study
        self.trials = {
            key_of(trial.recipe, trial.seed, trial.form, self.data.digest): trial
            for trial in trials(self.wanted, self.num_seeds)
        }
        self.passed_over: dict[str, str] = {}
        self._began = self.clock()
        self._speeds: dict[Form, float] = {}

    @property
    def deadline(self) -> float:
        """When the budget is spent, by the runner's clock."""
        return math.inf if self.budget_seconds is None else self._began + self.budget_seconds

    def outlook(self) -> Outlook:
        """Return what is still to be made and what it costs; takes some seconds where no run was made here before."""
        pending = self._forecasts()
        return Outlook(
            pending=tuple(self.trials[key] for key in pending),
            forecast_seconds=tuple(pending.values()),
            num_done=len(self.trials) - len(pending),
            num_affordable=_num_within(pending.values(), self.deadline - self.clock()),
        )

    def num_left(self) -> int:
        """Return how many runs are still to be made."""
        return len(_pending(self.trials, self.ledger.read()))

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
        while pending := self._forecasts():
            left = self.deadline - self.clock()
            fitting = [key for key, seconds in pending.items() if seconds <= left]
            if not fitting:
                return
            with self._claimed(fitting) as key:
                number = len(self.trials) - len(pending) + 1
                yield Turn(
                    trial=self.trials[key] if key else None,
                    number=number,
                    num_trials=len(self.trials),
                    forecast_seconds=sum(pending.values()),
                )
                if key is None:
                    time.sleep(_SECONDS_BETWEEN_LOOKS)
                    continue
                try:
                    if not self._make(key):
                        return
                except MemoryError as error:
                    self.passed_over[key] = f"{self.trials[key].name}: {error}"

    def _make(self, key: str) -> bool:
        """Make a trial and write down what came of it; tell whether it came to its end."""
        trial, folder = self.trials[key], self.ledger.run_folder(key)
        held = self.ledger.read().outcomes.get(key)
        if held is not None and not RunFolder(folder).artefact("last").exists():
            raise LedgerError(
                f"{trial.name} stands in {self.ledger.path} without its weights, which {', '.join(sorted(trial.views))}"
                " crops are to be scored with; give another --out"
            )
        outcome = run_trial(trial, self.data, folder, self.machine, self.watch)
        if outcome is not None:
            self.ledger.append(held.replace(views={**held.views, **outcome.views}) if held else outcome)
        return outcome is not None

    @contextmanager
    def _claimed(self, keys: Sequence[str]) -> Iterator[str | None]:
        """Hold the first trial that no other process makes or has made meanwhile; None where there is none."""
        for key in keys:
            with self.ledger.claim(key) as is_ours:
                if is_ours and key in _pending(self.trials, self.ledger.read()):
                    yield key
                    return
        yield None

    def _forecasts(self) -> dict[str, float]:
        """Return the keys of what is still to be made, and the seconds that each takes."""
        pages = self.ledger.read()
        known = Costs(
            data=self.data, made=made_here(pages.outcomes.values(), self.data, self.machine), measured=self._speed
        )
        return {
            key: known.seconds(self.trials[key], 0.0 if key in pages.outcomes else self._fraction(key))
            for key in _pending(self.trials, pages)
            if key not in self.passed_over
        }

    def _fraction(self, key: str) -> float:
        """Return the part of a trial that is still to be trained."""
        num_done = RunFolder(self.ledger.run_folder(key)).checkpoints.newest_step()
        return 1 - num_done / Task(data=self.data, recipe=self.trials[key].recipe).horizon.num_steps

    def _speed(self, form: Form) -> float:
        """Return the speed of a form, timed once."""
        if form not in self._speeds:
            trial = next(trial for trial in self.trials.values() if trial.form == form)
            self._speeds[form] = measured_speed(trial, self.data, replace(self.machine, form=form))
        return self._speeds[form]


def _pending(wanted: Mapping[str, Trial], pages: Pages) -> tuple[str, ...]:
    """Return the keys of trials that a ledger does not hold with all that they ask for."""
    held = pages.outcomes
    return tuple(key for key, trial in wanted.items() if key not in held or not held[key].answers(trial))


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


def _num_within(seconds: Iterable[float], budget: float) -> int:
    """Return how many trials fit into a budget, those that do not being passed over."""
    number = 0
    for each in seconds:
        if each <= budget:
            number, budget = number + 1, budget - each
    return number
