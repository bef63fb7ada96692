"""One run of a study: the seam behind which a cluster's scheduler may stand.

`run_trial` needs nothing but its arguments, which travel between processes: `ray.remote(run_trial)` or a job that calls
it makes a run elsewhere, and `Ledger.append` writes down what comes back.
"""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import torch

from resnext.data.dataset import Data
from resnext.data.loader import view_batches
from resnext.evaluation.evaluate import evaluate, mean_over_views
from resnext.inference.load import load
from resnext.model.device import processor
from resnext.spec.recipe import Recipe
from resnext.study.design import Trial, View, protocol_of
from resnext.study.ledger import EpochErrors, Outcome
from resnext.training.conduct import Conduct
from resnext.training.learner import NonFiniteLossError
from resnext.training.log import read_log
from resnext.training.machine import Machine, num_cores
from resnext.training.provenance import command, commit, versions
from resnext.training.record import Result
from resnext.training.run import Run
from resnext.training.task import Task

Watch = Callable[[Run], None]


def to_the_end(run: Run) -> None:
    """Train a run without a word."""
    for _ in run:
        continue


def run_trial(trial: Trial, data: Data, folder: Path, machine: Machine, watch: Watch = to_the_end) -> Outcome | None:
    """Make a run in a folder, or go on with the one that is there, and score its last epoch in the trial's views.

    `watch` goes through the run; where it stops early, what was learnt is kept in the folder and the outcome is None.
    A run whose loss becomes infinite has an outcome too. Raises as `resnext.train` does.
    """
    task = Task(data=data, recipe=trial.recipe, seed=trial.seed)
    run = Run(task, Conduct(out=folder, resumes=True), replace(machine, form=trial.form))
    try:
        failure = _watched(run, watch)
        result = run.finish()
    finally:
        run.folder.release()
    if failure is None and not run.is_whole:
        return None
    views = {} if failure else {view: _score(trial.recipe, data, run, view) for view in sorted(trial.views)}
    return _outcome(run, trial, result, views, failure)


def _watched(run: Run, watch: Watch) -> str | None:
    """Go through a run; return why it cannot go on where its loss became infinite."""
    try:
        watch(run)
    except NonFiniteLossError as error:
        return str(error)
    return None


def _score(recipe: Recipe, data: Data, run: Run, view: View) -> float:
    """Return the top-1 error, in percent, of the last epoch's weights in a view of the held-out images."""
    classifier = load(str(run.folder.artefact("last")), str(run.device))
    batches = view_batches(data.split(data.selection), protocol_of(view, recipe))
    scores = evaluate(mean_over_views(classifier.logits), batches, classifier.class_names)
    return scores.top1_error_percent


def _outcome(run: Run, trial: Trial, result: Result, views: dict[View, float], failure: str | None) -> Outcome:
    epochs = [event for event in read_log(run.folder.event_log) if event["event"] == "epoch"]
    data = run.task.data
    return Outcome(
        recipe=trial.recipe,
        seed=trial.seed,
        form=trial.form,
        data=data.source,
        data_digest=data.digest,
        split=data.selection,
        num_images=len(data.split(data.selection).labels),
        best_epoch=result.best_epoch,
        best_top1_error_percent=result.best.top1_error_percent if result.best else None,
        last_top1_error_percent=result.last.top1_error_percent if result.last else None,
        views=views,
        curve=tuple(
            EpochErrors(train=epoch["train_top1_error_percent"], held_out=epoch["scores"]["top1_error_percent"])
            for epoch in epochs
        ),
        failure=failure,
        wall_seconds=result.wall_seconds,
        images_per_second=epochs[-1]["images_per_second"] if epochs else 0.0,
        device=str(run.device),
        processor=processor(run.device),
        num_cores=num_cores(),
        num_threads=torch.get_num_threads(),
        precision=run.machine.precision,
        is_compiled=run.machine.compiles,
        versions=versions(),
        commit=commit(),
        command=command(),
        ended=datetime.now(UTC).isoformat(timespec="seconds"),
    )
