"""One training run, composed: data and recipe in, a run folder with events and artefacts out."""

import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from resnext.artefact.manifest import Manifest, Measurement
from resnext.artefact.store import load_artefact
from resnext.data.augment import augmenter
from resnext.data.dataset import Data
from resnext.data.loader import Batch, Loading, evaluation_batches, training_batches
from resnext.data.open import open_data
from resnext.data.views import Remembered
from resnext.evaluation.evaluate import evaluate
from resnext.evaluation.metrics import Scores
from resnext.imaging.transform import normalise
from resnext.model.forms import build
from resnext.model.network import Network
from resnext.spec.recipe import Recipe, chosen, read_recipe
from resnext.training.folder import RunFolder, free_path
from resnext.training.loop import Course, EpochReport, NonFiniteLossError, Report, epochs
from resnext.training.machine import Machine
from resnext.training.optimiser import make_optimiser
from resnext.training.provenance import command, commit, versions
from resnext.training.record import make_manifest, measure
from resnext.training.state import TrainingState
from resnext.training.task import Task, adapt


@dataclass(frozen=True, kw_only=True)
class Result:
    """How a run ended: `best` was chosen on the selection split, `test` was scored once, on the best, at the end.

    A score is None where there is none: `last` after a stop in the middle of an epoch.
    """

    artefact: Path
    num_epochs: int
    best_epoch: int | None
    best: Measurement | None
    last: Measurement | None
    test: Measurement | None
    wall_seconds: float


class Run:
    """A run that trains while it is iterated, writes its folder as it goes, and is closed by `finish`."""

    def __init__(self, task: Task, out: Path, machine: Machine) -> None:
        self.task, self.machine = task, machine
        self.device = machine.torch_device()
        self.preprocessing = task.recipe.preprocessing()
        self.problems = list(task.data.problems)
        self.state = self._initial_state()
        self._started = time.perf_counter()
        self._best: tuple[int, Measurement] | None = None
        self._last: Measurement | None = None
        self._saved_step = 0
        self._is_spoilt = False
        self.folder = RunFolder(out)  # last, so that a run that cannot begin leaves no folder

    def __iter__(self) -> Iterator[Report]:
        """Train; yield a report for every step and every epoch, after what belongs to it is written.

        Raises `NonFiniteLossError`, before weights are spoilt, where the loss is not finite.
        """
        self._record_start()
        try:
            for report in epochs(self.state, self._course()):
                if isinstance(report, EpochReport):
                    self._record_epoch(report)
                else:
                    self._note(report.left_out)
                yield report
        except NonFiniteLossError as error:
            raise self._explained(error) from None

    def finish(self) -> Result:
        """Close the run, whole or stopped early: save what is not saved; score the best on the test split once."""
        is_scored = self._last is not None and self.state.step == self._saved_step
        if not is_scored and not self._is_spoilt:
            self._last = None
            self.folder.save("last", self.state.network, self._manifest(()))
        data = self.task.data
        is_whole = is_scored and self.state.epoch == self.task.recipe.epochs
        scores_test = is_whole and "test" in data.splits and data.selection != "test"
        result = Result(
            artefact=self.folder.artefact("best" if self._best else "last"),
            num_epochs=self.state.epoch,
            best_epoch=self._best[0] if self._best else None,
            best=self._best[1] if self._best else None,
            last=self._last,
            test=self._score_test() if scores_test else None,
            wall_seconds=self._seconds(),
        )
        self.folder.event("end", {"is_whole": is_whole, **_plain(result)})
        return result

    def _initial_state(self) -> TrainingState:
        generator = torch.Generator().manual_seed(self.task.seed)
        network = build(self.task.recipe.network(), self.machine.form, generator)
        network = network.to(self.device, self.machine.dtype).to(memory_format=torch.channels_last)
        return TrainingState(network, make_optimiser(network, self.task.recipe.optimiser))

    def _course(self) -> Course:
        recipe, train = self.task.recipe, Remembered(self.task.data.split("train"))
        augment = augmenter(recipe.augmentation, self.preprocessing)
        return Course(
            recipe=recipe,
            horizon=self.task.horizon,
            batches=lambda epoch: training_batches(
                train, augment, self._loading(drops_last=True), seed=self.task.seed, epoch=epoch
            ),
            prepare=self._prepare,
            score=lambda: self._score(self.state.network, self.task.data.selection),
        )

    def _loading(self, *, drops_last: bool) -> Loading:
        return Loading(
            batch_size=chosen(self.task.recipe.batch_size, "batch_size"),
            num_threads=self.machine.num_loader_threads,
            drops_last=drops_last,
        )

    def _prepare(self, pixels: Tensor) -> Tensor:
        return normalise(pixels.to(self.device, non_blocking=True), self.preprocessing, self.machine.dtype)

    def _score(self, network: Network, split: str) -> Scores:
        batches = evaluation_batches(self.task.data.split(split), self.preprocessing, self._loading(drops_last=False))
        return evaluate(
            lambda pixels: network(self._prepare(pixels)), self._noting(batches), self.task.data.class_names
        )

    def _score_test(self) -> Measurement:
        """Score the best artefact, as shipped, on the test split, and write the score into it."""
        network, manifest = load_artefact(self.folder.artefact("best"))
        network = network.to(self.device, self.machine.dtype)
        measurement = measure(self._score(network, "test"), "test", self.task)
        manifest = manifest.replace(measurements=(*manifest.measurements, measurement))
        self.folder.save("best", network, manifest)
        return measurement

    def _noting(self, batches: Iterator[Batch]) -> Iterator[Batch]:
        for batch in batches:
            self._note(batch.left_out)
            yield batch

    def _note(self, problems: tuple[str, ...]) -> None:
        for problem in problems:
            if problem not in self.problems:
                self.problems.append(problem)
                self.folder.event("problem", {"message": problem})

    def _record_start(self) -> None:
        task = self.task
        self.folder.write_recipe(task.recipe)
        self.folder.event(
            "start",
            {
                "recipe": task.recipe.name,
                "recipe_digest": task.recipe.digest(),
                "seed": task.seed,
                "data": task.data.source,
                "data_digest": task.data.digest,
                "num_images": {name: len(split.labels) for name, split in task.data.splits.items()},
                "problems": list(task.data.problems),
                "machine": asdict(self.machine),
                "device": str(self.device),
                "versions": versions(),
                "commit": commit(),
                "command": command(),
            },
        )

    def _record_epoch(self, report: EpochReport) -> None:
        """Save the last artefact, and the best where this epoch is; then log the epoch."""
        split = self.task.data.selection
        self._last = measure(report.scores, split, self.task)
        manifest = self._manifest((self._last,))
        self.folder.save("last", self.state.network, manifest)
        self._saved_step = self.state.step
        is_best = self._best is None or _order(self._last) < _order(self._best[1])
        if is_best:
            self._best = (report.epoch, self._last)
            self.folder.save("best", self.state.network, manifest)
        fields = {**asdict(report), "scores": self._last.model_dump(), "is_best": is_best}
        self.folder.event("epoch", fields)

    def _manifest(self, measurements: tuple[Measurement, ...]) -> Manifest:
        return make_manifest(self.task, self.state.epoch, measurements, (str(self.device), self._seconds()))

    def _explained(self, error: NonFiniteLossError) -> NonFiniteLossError:
        """Log where the loss stopped being finite, and say what is kept and what to do."""
        self._is_spoilt = True
        self.folder.event("non_finite_loss", {"message": str(error), "step": error.step, "images": error.names})
        last = self.folder.artefact("last")
        kept = f"{last} holds the weights after the last whole epoch" if self._last else "no epoch was finished yet"
        rate = chosen(self.task.recipe.optimiser.learning_rate, "optimiser.learning_rate")
        advice = f"try --set optimiser.learning_rate={rate / 4:g}"
        return NonFiniteLossError(f"{error}; {kept}; {advice}", error.step, error.names)

    def _seconds(self) -> float:
        return round(time.perf_counter() - self._started, 3)


def train(
    data: str | Data,
    recipe: str | Recipe = "quick",
    out: str | Path | None = None,
    *,
    seed: int = 0,
    machine: Machine | None = None,
) -> Result:
    """Train on data, opened or named as for `resnext.open_data`, by a recipe, read or named as for `read_recipe`.

    Writes a run folder, by default a new one under `runs/`, and returns how it ended. Raises `ValueError`, whose
    message says what to do, where the data, the recipe, the folder or the machine cannot be used as asked.
    """
    machine = machine or Machine()
    opened = open_data(data) if isinstance(data, str) else data
    resolved, _ = adapt(read_recipe(recipe) if isinstance(recipe, str) else recipe, opened, machine)
    task = Task(data=opened, recipe=resolved, seed=seed)
    run = Run(task, Path(out) if out else default_folder(opened), machine)
    for _ in run:
        continue
    return run.finish()


def default_folder(data: Data) -> Path:
    """Return a new folder under `runs/`, named after the data."""
    return free_path(Path("runs"), Path(data.source).resolve().name)


def _order(measurement: Measurement) -> tuple[float, float]:
    return measurement.top1_error_percent, measurement.loss


def _plain(result: Result) -> Mapping[str, Any]:
    fields = {key: getattr(result, key) for key in ("num_epochs", "best_epoch", "wall_seconds")}
    measured = {key: getattr(result, key) for key in ("best", "last", "test")}
    plain = {key: value.model_dump() if value else None for key, value in measured.items()}
    return {"artefact": result.artefact.name, **fields, **plain}
