"""What a run keeps while it trains: log, checkpoints and artefacts, written by the first of its processes."""

import time
from collections.abc import Callable, Iterable
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

from resnext.artefact.manifest import Calibration, Manifest, Measurement
from resnext.artefact.store import ArtefactError, load_artefact, save_artefact
from resnext.data.dataset import DataError
from resnext.model.network import Network
from resnext.spec.recipe import chosen, read_recipe
from resnext.spec.value import SpecError
from resnext.training.checkpoint import (
    CheckpointError,
    Identity,
    Memory,
    Progress,
    Timer,
)
from resnext.training.conduct import Conduct
from resnext.training.folder import RunFolder
from resnext.training.learner import NonFiniteLossError
from resnext.training.loop import EpochReport
from resnext.training.provenance import command
from resnext.training.record import Place, Result, describe_attempt, describe_start, make_manifest, measure
from resnext.training.state import TrainingState
from resnext.training.task import Task
from resnext.training.world import World

_UNREADABLE_BORNE, _FRACTION_BORNE = 10, 0.01


class Journal:
    """The memory of a run, beside the training state: what was best, what went wrong, and all that is on the disk.

    Every process keeps it; the first writes it, and what it cannot write stops all.
    """

    def __init__(self, task: Task, conduct: Conduct, place: Place, world: World) -> None:
        self.task, self.conduct, self.place = task, conduct, place
        self.memory = Memory()
        self.passed_over: tuple[str, ...] = ()
        self.folder = RunFolder(conduct.folder(task.data, world))
        self._world = world
        self._known = world.first(lambda: task.data.problems)
        self._identity = Identity(recipe_digest=task.recipe.digest(), data_digest=task.data.digest, seed=task.seed)
        self._started = time.perf_counter()
        self._timer = Timer(conduct.interval)
        self._sealed_step: int | None = None
        self._check_processes()
        self._resumes = world.first(self._goes_on)
        world.first(lambda: self.folder.claim(resumes=self._resumes))

    def resume(self, state: TrainingState) -> None:
        """Bring a state to where the run in the folder stopped, if there is one, and log this start of the run.

        Raises `CheckpointError` where the folder holds another run, or no whole checkpoint.
        """
        held = self._world.first(self.folder.checkpoints.read) if self._resumes else None
        if held is not None:
            self._check_identity(held.progress.identity, held.progress.command)
            state.restore(held.progress.position, held.tensors)
            self.memory = held.progress.memory
            self.passed_over = held.passed_over
            self._sealed_step = state.step
        elif self._resumes:
            self._world.first(self._check_nothing_is_lost)
        self._timer.reset(state.step)
        self._write(lambda: self.folder.attempt(describe_attempt(self.place, state.step, self.passed_over)))
        self._write(lambda: self._record_start(is_new=held is None))
        if self.is_scored(state):
            self._save_scored(state, again=True)  # a run killed after its checkpoint may not have come to it

    @property
    def problems(self) -> tuple[str, ...]:
        """What was wrong with the data, and what went wrong since, a line each."""
        return self._known + self.memory.problems

    def note(self, messages: Iterable[str]) -> int:
        """Log what went wrong, each thing once, and return how many of the messages were new."""
        new = tuple(message for message in dict.fromkeys(messages) if message not in self.problems)
        if new:
            self._remember(problems=self.memory.problems + new)
            self._write(lambda: self.folder.events("problem", [{"message": message} for message in new]))
        return len(new)

    def note_unreadable(self, messages: tuple[str, ...], state: TrainingState) -> None:
        """Log images that could not be read in training and scoring.

        Raises `OSError`, after a checkpoint, where they are more than a run bears.
        """
        num_unreadable = self.memory.num_unreadable + self.note(messages)
        self._remember(num_unreadable=num_unreadable)
        num_images = len(self.task.data.split("train").labels)
        borne = self.conduct.max_unreadable
        if borne is None:
            borne = max(_UNREADABLE_BORNE, int(_FRACTION_BORNE * num_images))
        if num_unreadable > borne:
            self.checkpoint(state)
            raise OSError(
                f"{num_unreadable} images could not be read, more than the {borne} that this run bears, the last:"
                f" {messages[-1]}; put the same files back, or give a higher --max-unreadable, and go on with --resume"
            )

    def record_epoch(self, report: EpochReport, state: TrainingState) -> None:
        """Log the epoch; write a checkpoint; save the last artefact, and the best where this epoch is."""
        scored = measure(report.scores, self.task.data.selection, self.task)
        best = self.memory.best
        takes_last = chosen(self.task.recipe.selection, "selection") == "last"
        is_best = best is None or takes_last or _order(scored) < _order(best)
        self._remember(last=scored, scored_step=state.step)
        if is_best:
            self._remember(best=scored, best_epoch=report.epoch)
        fields = {**asdict(report), "scores": scored.model_dump(), "is_best": is_best}
        self._write(lambda: self.folder.events("epoch", [fields]))
        self.checkpoint(state)
        self._save_scored(state)

    def is_due(self, step: int) -> bool:
        """Tell, the same in every process, whether it is time for a checkpoint."""
        return self._world.any(self._world.is_first and self._timer.is_due(step))

    def checkpoint(self, state: TrainingState) -> None:
        """Write the state between two steps, so that a resumed run goes on from here, bit for bit."""
        self._write(lambda: self._checkpoint(state))
        self._sealed_step = state.step
        self._timer.reset(state.step)

    def explained(self, error: NonFiniteLossError) -> NonFiniteLossError:
        """Log where the loss stopped being finite, and say what is kept and what to do."""
        fields = {"message": str(error), "step": error.step, "images": error.names}
        self._write(lambda: self.folder.events("non_finite_loss", [fields]))
        last = self.folder.artefact("last")
        kept = f"{last} holds the weights that were last kept" if last.exists() else "no epoch was finished yet"
        rate = chosen(self.task.recipe.optimiser.learning_rate, "optimiser.learning_rate")
        advice = f"try --set optimiser.learning_rate={rate / 4:g} in a new folder"
        return NonFiniteLossError(f"{error}; {kept}; {advice}", error.step, error.names)

    def stop(self, state: TrainingState) -> None:
        """Keep what a run has learnt since it last kept something."""
        if state.step != self._sealed_step:
            self.checkpoint(state)
        if not self.is_scored(state):
            self._save("last", state, ())

    def is_scored(self, state: TrainingState) -> bool:
        """Whether the weights are those that were scored last."""
        return self.memory.last is not None and state.step == self.memory.scored_step

    def artefact(self, name: str) -> tuple[Network, Manifest]:
        """Return the artefact `best` or `last`, as shipped."""
        return self._world.first(lambda: load_artefact(self.folder.artefact(name)))

    def rewrite(self, name: str, network: Network, manifest: Manifest) -> None:
        """Write an artefact again, with another manifest."""
        self._write(lambda: save_artefact(self.folder.artefact(name), network, manifest))

    def close(
        self, state: TrainingState, test: Measurement | None, calibration: Calibration | str, *, is_whole: bool
    ) -> Result:
        """Log how the run ended."""
        memory = self.memory
        result = Result(
            artefact=self.folder.artefact("best" if memory.best else "last"),
            num_epochs=state.epoch,
            best_epoch=memory.best_epoch,
            best=memory.best,
            last=memory.last if self.is_scored(state) else None,
            test=test,
            calibration=calibration,
            wall_seconds=self._seconds(),
        )
        self._write(lambda: self.folder.events("end", [{"is_whole": is_whole, **result.plain()}]))
        return result

    def _record_start(self, *, is_new: bool) -> None:
        self.folder.forget_events(self.memory.num_event_bytes)
        if is_new:
            self.folder.write_recipe(self.task.recipe)
            self.folder.events("start", [describe_start(self.task)])

    def _goes_on(self) -> bool:
        """Tell whether to go on with what is in the folder: when asked to, and when torchrun starts its run again."""
        is_again = self._world.num_restarts > 0 and self._world.launch == self.folder.last_launch() != ""
        return self.conduct.resumes or is_again

    def _check_processes(self) -> None:
        """Refuse to begin where processes differ in what they are to learn. Raises `DataError`, the same in all."""
        first, *others = self._world.gather(self._identity)
        for rank, other in enumerate(others, start=1):
            if differs := _differences(first, other):
                raise DataError(f"process {rank} has another recipe or other data than the first: {differs}")

    def _check_nothing_is_lost(self) -> None:
        """Refuse to begin anew, for want of a checkpoint, where another run or trained weights would be lost."""
        began = self.folder.first_event()
        if began:
            held = Identity(
                **{name: began.get(name, self._identity.model_dump()[name]) for name in Identity.model_fields}
            )
            self._check_identity(held, f"recipe {began.get('recipe')} on {began.get('data')}")
        if any(self.folder.artefact(name).exists() for name in ("best", "last")):
            raise CheckpointError(
                f"{self.folder.path} holds trained weights but no checkpoint to go on from; give another folder"
            )

    def _check_identity(self, held: Identity, origin: str) -> None:
        """Refuse to go on with another run than the one in the folder."""
        if differs := _differences(self._identity, held):
            recipe = self.folder.path / "recipe.toml"
            options = f"--recipe {recipe} --seed {held.seed}{_start_option(recipe)}"
            raise CheckpointError(
                f"{self.folder.path} holds another run: {differs}. To go on with that one, give its data, with the same"
                f" files in it, and {options}; it was started as: {origin}"
            )

    def _save_scored(self, state: TrainingState, *, again: bool = False) -> None:
        """Save the artefacts of an epoch, after the checkpoint, so that they are never of an epoch learnt otherwise.

        Those that are there `again` stay as they are, with what was written into them since.
        """
        assert self.memory.last is not None
        for name in ("last", "best") if self.memory.best_epoch == state.epoch else ("last",):
            if not (again and self._world.first(partial(self._is_kept, name, state.epoch))):
                self._save(name, state, (self.memory.last,))

    def _is_kept(self, name: str, epoch: int) -> bool:
        """Tell whether an artefact has the weights of an epoch of this run, and the score that they had."""
        try:
            _, manifest = load_artefact(self.folder.artefact(name))
        except ArtefactError:
            return False
        made = manifest.provenance
        held = made and (made.recipe_digest, made.data_digest, made.seed, made.epoch)
        return held == (*self._identity.model_dump().values(), epoch) and self.memory.last in manifest.measurements

    def _save(self, name: str, state: TrainingState, measurements: tuple[Measurement, ...]) -> None:
        manifest = make_manifest(self.task, state.epoch, measurements, self.place.device, self._seconds())
        self._write(lambda: save_artefact(self.folder.artefact(name), state.shipped, manifest))

    def _write(self, function: Callable[[], None]) -> None:
        """Write something in the first process; say what is still whole where that fails."""
        try:
            self._world.first(function)
        except OSError as error:
            newest = self.folder.checkpoints.newest()
            kept = f"{newest} is whole; make room and go on with --resume" if newest else "no checkpoint is there yet"
            raise OSError(f"{error}; {kept}") from None

    def _checkpoint(self, state: TrainingState) -> None:
        memory = self.memory.replace(num_event_bytes=self.folder.num_event_bytes(), wall_seconds=self._seconds())
        progress = Progress(identity=self._identity, command=command(), position=state.position(), memory=memory)
        self.folder.checkpoints.write(progress, state.tensors())

    def _remember(self, **changes: Any) -> None:
        self.memory = self.memory.replace(**changes)

    def _seconds(self) -> float:
        """Return the seconds of this start of the run and of those before it."""
        return round(self.memory.wall_seconds + time.perf_counter() - self._started, 3)


def _order(measurement: Measurement) -> tuple[float, float]:
    return measurement.top1_error_percent, measurement.loss


def _start_option(recipe: Path) -> str:
    """Say what names the weights from which the run of a recipe started; empty where there were none."""
    try:
        weights = read_recipe(str(recipe)).fine_tuning.weights
    except SpecError:
        return ""
    return "" if weights is None else f" --from WEIGHTS, those whose SHA-256 begins with {weights[:12]}"


def _differences(here: Identity, there: Identity) -> str:
    """Say in which fields two runs differ; empty where they are one."""
    pairs = zip(here.model_dump().items(), there.model_dump().values(), strict=True)
    return "; ".join(f"{name} = {value}, there {other}" for (name, value), other in pairs if value != other)
