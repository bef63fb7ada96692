"""The story of a run, from what it left in its folder."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from resnext.artefact.store import load_artefact
from resnext.evaluation.outputs import Outputs
from resnext.report.story import Attempt, Epoch, Examination, RunStory, Score
from resnext.spec.complexity import complexity
from resnext.spec.departures import departures, rate_departure
from resnext.spec.facts import Choice
from resnext.spec.recipe import chosen
from resnext.training.examination import examine
from resnext.training.folder import RunFolder
from resnext.training.log import read_log
from resnext.training.schedule import learning_rate
from resnext.training.task import Task

_MOST_RATES = 600
_DIGEST_LETTERS = 12

Event = Mapping[str, Any]


def tell(folder: RunFolder, task: Task, heard: tuple[str, Outputs] | None) -> RunStory:
    """Tell a run that has ended, whole or not, from its logs and its best artefact.

    `heard` is what that artefact's network said of a split, and of which; None where no epoch was scored. Raises
    `ValueError` where the folder does not hold the logs of a run that has ended.
    """
    events = read_log(folder.event_log)
    attempts = read_log(folder.attempt_log)
    starts, ends = _of_kind(events, "start"), _of_kind(events, "end")
    if not (starts and ends and attempts):
        raise ValueError(f"{folder.path} does not hold the logs of a run that has ended")
    start, end = starts[0], ends[-1]
    return RunStory(
        data=Path(task.data.source.partition("?")[0]).name or task.data.source,
        network=task.recipe.network().name,
        ending=_ending(events, end, task),
        is_whole=bool(end["is_whole"]),
        wall_seconds=end["wall_seconds"],
        num_epochs=task.horizon.num_epochs,
        facts=_facts(task, attempts),
        class_names=task.data.class_names,
        class_sizes=_class_sizes(task),
        epochs=tuple(map(_epoch, _of_kind(events, "epoch"))),
        rates=_rates(task),
        best_epoch=end["best_epoch"],
        scores=tuple(_scores(end)),
        examination=_examination(folder, task, heard, end),
        choices=tuple(Choice(**choice) for choice in start.get("choices", ())),
        departures=departures(task.recipe),
        rate_departure=rate_departure(task.recipe),
        recipe_toml=task.recipe.to_toml(),
        problems=(*start["problems"], *(event["message"] for event in _of_kind(events, "problem"))),
        attempts=tuple(map(_attempt, attempts)),
    )


def _of_kind(events: Sequence[Event], kind: str) -> list[Event]:
    return [event for event in events if event["event"] == kind]


def _ending(events: Sequence[Event], end: Event, task: Task) -> str:
    num_epochs, num_done = task.horizon.num_epochs, len(_of_kind(events, "epoch"))
    if end["is_whole"]:
        return f"Whole: {num_epochs} epochs of {task.horizon.steps_per_epoch:,} steps."
    if broken := _of_kind(events, "non_finite_loss"):
        return f"Stopped: {broken[-1]['message']}."
    if end["num_epochs"] == num_done:
        return f"Stopped early, after epoch {num_done} of {num_epochs}."
    return f"Stopped early, in epoch {end['num_epochs']} of {num_epochs}; {num_done} of them finished."


def _epoch(event: Event) -> Epoch:
    return Epoch(
        epoch=event["epoch"],
        train_loss=event["train_loss"],
        train_error_percent=event["train_top1_error_percent"],
        held_out_loss=event["scores"]["loss"],
        held_out_error_percent=event["scores"]["top1_error_percent"],
        learning_rate=event["learning_rate"],
        images_per_second=event["images_per_second"],
    )


def _scores(end: Event) -> Iterator[Score]:
    """Yield what was measured, what matters most last."""
    best, last = f"best epoch {end['best_epoch']}", f"last epoch {end['num_epochs']}"
    is_same = end["best_epoch"] == end["num_epochs"]
    rows = {"last": None if is_same else last, "best": f"{best}, the last" if is_same else best, "test": best}
    for kind, weights in rows.items():
        if weights and end[kind]:
            yield Score(weights=weights, **end[kind])


def _rates(task: Task) -> tuple[tuple[float, float], ...]:
    """Return the planned rate at up to so many steps of the run, the first and the last among them."""
    recipe, horizon = task.recipe, task.horizon
    peak = chosen(recipe.optimiser.learning_rate, "optimiser.learning_rate")
    stride = -(-horizon.num_steps // _MOST_RATES)
    steps = sorted({*range(1, horizon.num_steps + 1, stride), horizon.num_steps})
    return tuple(
        (step / horizon.steps_per_epoch, learning_rate(recipe.schedule, peak, horizon, step)) for step in steps
    )


def _class_sizes(task: Task) -> tuple[int, ...]:
    counts = Counter(task.data.split("train").labels)
    return tuple(counts[index] for index in range(len(task.data.class_names)))


def _facts(task: Task, attempts: Sequence[Event]) -> dict[str, str]:
    """Return what is worth knowing of a run, by the names under which it is listed."""
    recipe, data, newest = task.recipe, task.data, attempts[-1]
    size = recipe.preprocessing().image_size
    cost = complexity(recipe.network(), size)
    splits = ", ".join(f"{len(split.labels):,} {name}" for name, split in data.splits.items())
    return {
        "data": data.source,
        "images": f"{splits}; {_selection(task)}",
        "network": f"{recipe.network().name}, {cost.params:,} parameters",
        "one image": f"{size}x{size} pixels, {cost.macs:,} multiply-accumulates",
        "recipe": f"{recipe.name}, digest {recipe.digest()[:_DIGEST_LETTERS]}",
        "seed": str(task.seed),
        "data digest": data.digest[:_DIGEST_LETTERS],
        "precision": newest["machine"]["precision"],
        "versions": ", ".join(f"{name} {version}" for name, version in newest["versions"].items()),
        "commit": newest["commit"] or "not from a checkout",
    }


def _selection(task: Task) -> str:
    if task.recipe.selection == "last":
        return f"{task.data.selection} has too few to choose the best epoch on: the last is kept"
    return f"the best epoch is chosen on {task.data.selection}"


def _attempt(line: Event) -> Attempt:
    processes = line["num_processes"]
    place = line["device"] if processes == 1 else f"{processes} processes, {line['device']}"
    time = line["time"][:16].replace("T", " ") + " UTC"
    return Attempt(time=time, after_step=line["after_step"], place=place, command=line["command"])


def _examination(folder: RunFolder, task: Task, heard: tuple[str, Outputs] | None, end: Event) -> Examination | None:
    if heard is None:
        return None
    _, manifest = load_artefact(folder.artefact("best"))
    return examine(*heard, task.data, manifest.calibration or str(end["calibration"]))
