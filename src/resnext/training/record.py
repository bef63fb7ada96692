"""What a run writes down of itself: scores with their protocol, and the manifest of an artefact."""

from datetime import UTC, datetime

from resnext.artefact.manifest import Manifest, Measurement, Provenance
from resnext.evaluation.metrics import Scores
from resnext.training.provenance import command, commit, versions
from resnext.training.task import Task


def measure(scores: Scores, split: str, task: Task) -> Measurement:
    """Put scores on a split into the words of a manifest, with the protocol that gave them."""
    preprocessing = task.recipe.preprocessing()
    chosen_on = "; the best epoch is chosen on this split" if split == task.data.selection else ""
    return Measurement(
        split=split,
        protocol=f"single crop {preprocessing.image_size}, shorter side {preprocessing.resize_size}{chosen_on}",
        num_images=scores.num_images,
        top1_error_percent=scores.top1_error_percent,
        top5_error_percent=scores.top5_error_percent,
        loss=scores.loss,
    )


def make_manifest(task: Task, epoch: int, measurements: tuple[Measurement, ...], place: tuple[str, float]) -> Manifest:
    """Describe the weights after an epoch of a task; `place` is the device and the seconds they took so far."""
    device, wall_seconds = place
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
