"""The page about a run: what was learnt, what is mistaken for what, how sure it is, and how it came about."""

from resnext.report.classes import MOST_IN_A_MATRIX, MOST_IN_A_TABLE, class_rows, class_sizes, most_confused
from resnext.report.curves import error_curves, loss_curves, rate_curve, speed_curve
from resnext.report.page import render, svg
from resnext.report.reliability import reliability_diagram
from resnext.report.story import Examination, RunStory

_MOST_PROBLEMS = 200


def run_page(story: RunStory) -> str:
    """Return the report of a run as one HTML page that refers to nothing outside itself."""
    examination = story.examination
    scores = examination.scores if examination else None
    is_small = len(story.class_names) <= MOST_IN_A_MATRIX
    return render(
        "run.html.jinja",
        story=story,
        headline=story.scores[-1] if story.scores else None,
        curves=_curves(story),
        rows=class_rows(story.class_names, story.class_sizes, scores),
        largest_class=max(story.class_sizes, default=1),
        sizes=svg(class_sizes(story.class_sizes)) if len(story.class_names) > MOST_IN_A_TABLE else None,
        matrix=scores if is_small else None,
        longest_name=max(map(len, story.class_names), default=0),
        confused=most_confused(scores) if scores and not is_small else (),
        diagrams=_diagrams(examination) if examination else (),
        problems=story.problems[:_MOST_PROBLEMS],
    )


def _curves(story: RunStory) -> dict[str, str]:
    """Return the figures of the epochs, by what they show; there are none before the first epoch."""
    if not story.epochs:
        return {}
    num_epochs = story.num_epochs
    return {
        "error": svg(error_curves(story.epochs, num_epochs, story.best_epoch)),
        "loss": svg(loss_curves(story.epochs, num_epochs)),
        "rate": svg(rate_curve(story.rates, story.epochs[-1].epoch, num_epochs)),
        "speed": svg(speed_curve(story.epochs, num_epochs)),
    }


def _diagrams(examination: Examination) -> tuple[tuple[str, float, str], ...]:
    """Return title, expected calibration error and figure of every reliability."""
    kinds = {"As the network gives them": examination.raw, "After calibration": examination.calibrated}
    return tuple(
        (title, reliability.ece_percent, svg(reliability_diagram(reliability, f"Reliability: {title.lower()}")))
        for title, reliability in kinds.items()
        if reliability is not None
    )
