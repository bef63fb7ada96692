"""One training run, composed: data and recipe in, a run folder with log, checkpoints and artefacts out."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from resnext.artefact.weights import open_weights
from resnext.data.augment import augmenter
from resnext.data.content import undecoded, whole
from resnext.data.dataset import Data
from resnext.data.loader import Feed, UnreadableError
from resnext.data.mixing import mixer
from resnext.data.open import open_data
from resnext.data.sampler import Sampler
from resnext.data.stream import Stream
from resnext.data.stream_feed import StreamFeed
from resnext.data.views import Remembered
from resnext.spec.recipe import Recipe, chosen, read_recipe
from resnext.training.conduct import Conduct
from resnext.training.ending import Ending
from resnext.training.folder import RunFolder
from resnext.training.fused import computed
from resnext.training.journal import Journal
from resnext.training.layout import check_layout
from resnext.training.learner import Learner, NonFiniteLossError
from resnext.training.loop import Course, EpochReport, Report, StepReport, epochs
from resnext.training.machine import Machine
from resnext.training.record import Place, Result
from resnext.training.scorer import Scorer
from resnext.training.state import initial_state
from resnext.training.task import Task, adapt
from resnext.training.tensorboard import Board
from resnext.training.world import World, join_world

_ALONE = World()


class Run:
    """A run that trains while it is iterated, writes its folder as it goes, and is closed by `finish`."""

    def __init__(self, task: Task, conduct: Conduct, machine: Machine, world: World = _ALONE) -> None:
        check_layout(task, machine, world)
        self.task, self.machine, self.world = task, machine, world
        self.device = world.device(machine.device)
        self.state = initial_state(task.recipe, task.seed, machine, self.device, task.begin)
        # The folder comes last, so that a run that cannot begin leaves none.
        place = Place(machine=machine, device=str(self.device), num_processes=world.size, launch=world.launch)
        self.journal = Journal(task, conduct, place, world)
        try:
            self.journal.resume(self.state)
        except Exception:
            self.journal.folder.release()
            raise
        self.first_step = self.state.step
        self._learner = self._make_learner()
        self.scorer = Scorer(task=task, machine=machine, world=world, device=self.device, note=self._note_unreadable)
        self._is_spoilt = False

    @property
    def folder(self) -> RunFolder:
        """The folder that the run writes."""
        return self.journal.folder

    @property
    def problems(self) -> tuple[str, ...]:
        """What went wrong so far, a line each."""
        return self.journal.problems

    @property
    def is_whole(self) -> bool:
        """Whether the last epoch is learnt and scored."""
        return self.journal.is_scored(self.state) and self.state.epoch == self.task.recipe.epochs

    def __iter__(self) -> Iterator[Report]:
        """Train; yield a report for every step and every epoch, after what belongs to it is written.

        Raises `NonFiniteLossError`, before weights are spoilt, where the loss is not finite, and `OSError` where
        nothing more can be written or too many images cannot be read; the last checkpoint is then whole.
        """
        self.machine.settle()
        board = Board(self.folder.tensorboard, self.first_step) if self.world.is_first else None
        try:
            for report in epochs(self.course()):
                self._keep(report)
                if board:
                    board.show(report)
                yield report
        except NonFiniteLossError as error:
            self._is_spoilt = True
            raise self.journal.explained(error) from None
        except UnreadableError:
            if self.world.size == 1:  # other processes wait for this one's part of the step
                self.journal.checkpoint(self.state)
            raise
        finally:
            if board:
                board.close()

    def finish(self) -> Result:
        """Close the run, whole or stopped early: save what is not saved, calibrate, score on test once, report."""
        if not self._is_spoilt:
            self.journal.stop(self.state)
        ending = Ending(journal=self.journal, scorer=self.scorer, state=self.state, is_whole=self.is_whole)
        return ending.carry_out()

    def _note_unreadable(self, left_out: tuple[str, ...]) -> None:
        self.journal.note_unreadable(left_out, self.state)

    def _keep(self, report: Report) -> None:
        """Write what belongs to a report, and a checkpoint where it is time for one."""
        if isinstance(report, EpochReport):
            self.journal.record_epoch(report, self.state)
            return
        if report.micro_batch_size != self._micro_batch_size:
            self._note_micro_batch(report)
        if report.left_out:
            self._note_unreadable(report.left_out)
        if self.journal.is_due(report.step):
            self.journal.checkpoint(self.state)

    def _note_micro_batch(self, report: StepReport) -> None:
        self._micro_batch_size = report.micro_batch_size
        self.journal.note(
            [
                f"out of memory at step {report.step}: going on with {report.micro_batch_size} images at a time; the"
                " recipe, and what is learnt, stay the same"
            ]
        )

    def _make_learner(self) -> Learner:
        self._micro_batch_size = self.machine.micro_batch_size
        return Learner(
            state=self.state,
            recipe=self.task.recipe,
            model=self.world.replicated(computed(self.state.network, self.machine)),
            world=self.world,
            device=self.device,
            dtype=self.machine.dtype,
            autocast_dtype=self.machine.autocast_dtype(self.device),
            micro_batch_size=self.machine.micro_batch_size,
            keeps_memory=self.machine.keeps_memory,
            saves_memory=self.machine.saves_memory,
            class_weights=self._class_weights(),
        )

    def _class_weights(self) -> Tensor | None:
        weights = chosen(self.task.recipe.class_weights, "class_weights")
        if weights is None:
            return None
        by_class = [weights.get(name, 1.0) for name in self.task.data.class_names]
        return torch.tensor(by_class, dtype=self.machine.dtype, device=self.device)

    def course(self) -> Course:
        """Return all that the loop is given: `iter` goes through it and writes what belongs to each report."""
        recipe, train = self.task.recipe, self.task.data.split("train")
        seen = recipe.training_preprocessing()
        sampler = Sampler(
            num_images=len(train.labels),
            batch_size=chosen(recipe.batch_size, "batch_size"),
            seed=self.task.seed,
            rank=self.world.rank,
            num_ranks=self.world.size,
            labels=train.labels if recipe.sampling == "balanced" else None,
        )
        shown: dict[str, Any] = {
            "augment": augmenter(recipe.augmentation, seen),
            "sampler": sampler,
            "draw_mix": mixer(recipe.mixing, seen.image_size),
            "opening": whole if recipe.augmentation.decoding == "exact" else undecoded,
            "num_threads": self.machine.num_loader_threads,
            "pins": self.device.type == "cuda",
        }
        if isinstance(train, Stream):
            feed: Feed | StreamFeed = StreamFeed(stream=train, **shown)
        else:
            feed = Feed(dataset=Remembered(train) if self.task.remembers_images else train, **shown)
        return Course(
            learner=self._learner,
            horizon=self.task.horizon,
            batches=feed.batches,
            score=lambda: self.scorer.score(self.state.shipped, self.task.data.selection),
        )


def train(  # noqa: PLR0913 - a keyword for each thing that a user may say
    data: str | Data,
    recipe: str | Recipe = "quick",
    out: str | Path | Conduct | None = None,
    *,
    start: str | None = None,
    seed: int = 0,
    machine: Machine | None = None,
) -> Result:
    """Train on data, opened or named as for `resnext.open_data`, by a recipe, read or named as for `read_recipe`.

    `start` names weights to start from: a path, `torchvision:WEIGHTS` or `hf:REPO`; random ones if left out.
    Writes a run folder, by default a new one under `runs/`, and returns how it ended; `out` may also be a `Conduct`,
    which says more of how the run is kept, and whether it goes on where it stopped. Under `torchrun`, all processes
    train one run. Ctrl-C raises `KeyboardInterrupt`; what was learnt since the last checkpoint is then learnt again.
    Raises `ValueError`, whose message says what to do, where the data, the recipe, the folder or the machine cannot be
    used as asked.
    """
    machine = machine or Machine()
    with join_world() as world:
        opened = world.first_before_others(lambda: open_data(data)) if isinstance(data, str) else data
        weights = None if start is None else world.first_before_others(lambda: open_weights(start))
        wanted = read_recipe(recipe) if isinstance(recipe, str) else recipe
        resolved, choices = world.first(lambda: adapt(wanted, opened, machine, weights))
        task = Task(data=opened, recipe=resolved, seed=seed, choices=choices, weights=weights)
        conduct = out if isinstance(out, Conduct) else Conduct(out=Path(out) if out else None)
        run = Run(task, conduct, machine, world)
        try:
            for _ in run:
                continue
        except NonFiniteLossError:
            run.finish()
            raise
        else:
            return run.finish()
        finally:
            run.folder.release()
