"""What a run writes down of itself: its beginning, scores with their protocol, the manifest of an artefact, its end."""

from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from resnext.artefact.manifest import Calibration, Manifest, Measurement, Provenance
from resnext.evaluation.answers import answers_of
from resnext.evaluation.calibration import fit_temperature
from resnext.evaluation.metrics import Scores
from resnext.evaluation.outputs import Outputs
from resnext.spec.departures import departures, rate_departure
from resnext.spec.protocol import ScoringProtocol
from resnext.training.machine import Machine
from resnext.training.provenance import command, commit, versions
from resnext.training.task import Task


@dataclass(frozen=True, kw_only=True)
class Result:
    """How a run ended: `best` was chosen on the selection split, `test` was scored once, on the best, at the end.

    A score is None where there is none: `last` after a stop in the middle of an epoch. `calibration` is that of
    `artefact`, or the reason why there is none.
    """

    artefact: Path
    num_epochs: int
    best_epoch: int | None
    best: Measurement | None
    last: Measurement | None
    test: Measurement | None
    calibration: Calibration | str
    wall_seconds: float

    def plain(self) -> dict[str, Any]:
        """Return the fields as JSON can hold them."""
        measured = {"best": self.best, "last": self.last, "test": self.test}
        calibration = self.calibration if isinstance(self.calibration, str) else self.calibration.model_dump()
        return {
            "artefact": self.artefact.name,
            **{key: getattr(self, key) for key in ("num_epochs", "best_epoch", "wall_seconds")},
            **{key: value.model_dump() if value else None for key, value in measured.items()},
            "calibration": calibration,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where a run computes: its machine arguments, the device that they led to, and its processes.

    `launch` is what torchrun calls them together, with all their restarts; empty without it.
    """

    machine: Machine
    device: str
    num_processes: int
    launch: str = ""


def describe_start(task: Task) -> dict[str, Any]:
    """Return what a run is: the same whenever, wherever and however often it is started."""
    return {
        "recipe": task.recipe.name,
        "recipe_digest": task.recipe.digest(),
        "seed": task.seed,
        "data": task.data.source,
        "data_digest": task.data.digest,
        "num_images": {name: len(split.labels) for name, split in task.data.splits.items()},
        "problems": list(task.data.problems),
        "choices": [asdict(choice) for choice in task.choices],
        "departures": [asdict(departure) for departure in departures(task.recipe)],
        "rate_departure": rate_departure(task.recipe),
    }


def describe_attempt(place: Place, first_step: int, passed_over: tuple[str, ...]) -> dict[str, Any]:
    """Return who starts a run, or goes on with it from a step, where, and which checkpoints were not whole."""
    return {
        "after_step": first_step,
        "passed_over": list(passed_over),
        "machine": asdict(place.machine),
        "device": place.device,
        "num_processes": place.num_processes,
        "launch": place.launch,
        "versions": versions(),
        "commit": commit(),
        "command": command(),
    }


def measure(scores: Scores, split: str, task: Task) -> Measurement:
    """Put scores on a split into the words of a manifest, with the protocol that gave them."""
    protocol = ScoringProtocol(preprocessing=task.recipe.preprocessing())
    is_chosen_here = split == task.data.selection and task.recipe.selection == "lowest_error"
    chosen_on = "; the best epoch is chosen on this split" if is_chosen_here else ""
    return Measurement(
        split=split,
        protocol=f"{protocol.words()}{chosen_on}",
        num_images=scores.num_images,
        top1_error_percent=scores.top1_error_percent,
        top5_error_percent=scores.top5_error_percent,
        loss=scores.loss,
    )


def calibrate(outputs: Outputs, split: str) -> Calibration:
    """Fit a temperature to what a network says of a split that it was not trained on."""
    temperature = fit_temperature(outputs)
    answers = answers_of(outputs, temperature)
    return Calibration(
        temperature=temperature,
        split=split,
        num_images=len(outputs.names),
        ece_before_percent=answers.raw_ece_percent,
        ece_after_percent=answers.ece_percent,
    )


def make_manifest(
    task: Task, epoch: int, measurements: tuple[Measurement, ...], device: str, wall_seconds: float
) -> Manifest:
    """Describe the weights after an epoch of a task, computed on a device in so many seconds."""
    provenance = Provenance(
        recipe=task.recipe.name,
        recipe_digest=task.recipe.digest(),
        recipe_toml=task.recipe.to_toml(),
        data=task.data.source,
        data_digest=task.data.digest,
        seed=task.seed,
        epoch=epoch,
        command=command(),
        device=device,
        versions=versions(),
        commit=commit(),
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        wall_seconds=wall_seconds,
    )
    return Manifest(
        architecture=task.recipe.network(),
        preprocessing=task.recipe.preprocessing(),
        class_names=task.data.class_names,
        measurements=measurements,
        provenance=provenance,
    )
