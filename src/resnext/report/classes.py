"""What a network takes for what, and how much of each class there was to learn from."""

from collections.abc import Sequence
from dataclasses import dataclass

from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from resnext.evaluation.metrics import ClassScores, Scores
from resnext.report.page import TRAIN, panel

MOST_IN_A_MATRIX = 30
MOST_IN_A_TABLE = 100
MOST_PAIRS = 20
_SKEW = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class Confusion:
    """How many images of a class were taken for another, and which share of the class that is, in percent."""

    right: str
    said: str
    num_images: int
    share_percent: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassRow:
    """A class: its training images, and how those of the scored split did, None where none was scored."""

    name: str
    num_training_images: int
    scores: ClassScores | None


def most_confused(scores: Scores, most: int = MOST_PAIRS) -> tuple[Confusion, ...]:
    """Return the pairs of classes that were most often confused, by number of images, then by share of the class."""
    pairs = [
        Confusion(
            right=scores.classes[true].name,
            said=scores.classes[said].name,
            num_images=number,
            share_percent=100 * number / scores.classes[true].support,
        )
        for true, row in enumerate(scores.confusion)
        for said, number in enumerate(row)
        if number and true != said
    ]
    return tuple(sorted(pairs, key=lambda pair: (-pair.num_images, -pair.share_percent))[:most])


def class_rows(names: Sequence[str], sizes: Sequence[int], scores: Scores | None) -> tuple[ClassRow, ...]:
    """Return a row for every class; where they are too many for a table, those that are found least often, first."""
    judged: Sequence[ClassScores | None] = scores.classes if scores and scores.classes else [None] * len(names)
    rows = [
        ClassRow(name=name, num_training_images=size, scores=judgement)
        for name, size, judgement in zip(names, sizes, judged, strict=True)
    ]
    return tuple(rows if len(rows) <= MOST_IN_A_TABLE else sorted(rows, key=_recall)[:MOST_IN_A_TABLE])


def class_sizes(sizes: Sequence[int]) -> Figure:
    """Draw the number of training images of every class, largest first."""
    figure, axes = panel("Training images of each class, largest first")
    ordered = sorted(sizes, reverse=True)
    axes.stairs(ordered, range(len(ordered) + 1), fill=True, color=TRAIN, alpha=0.8)
    if ordered[0] > _SKEW * max(1, ordered[-1]):
        axes.set_yscale("symlog", linthresh=1)
    axes.set_xlim(0, len(ordered))
    axes.set_ylim(bottom=0)
    axes.yaxis.set_major_formatter("{x:,.0f}")
    axes.xaxis.set_major_locator(MaxNLocator(nbins=8, integer=True))
    axes.set_xlabel("classes")
    return figure


def _recall(row: ClassRow) -> tuple[float, int]:
    recall = row.scores.recall_percent if row.scores else None
    return (101.0 if recall is None else recall), row.num_training_images
