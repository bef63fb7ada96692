"""A study in figures: training curves (Fig. 5), error by cardinality (Tables 3 and 4), by complexity (Fig. 7)."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, MaxNLocator

from resnext.report.curves import finish
from resnext.report.page import FIRST, FONT_POINTS, INK, PAPER, SECOND, SOFT, panel, variable
from resnext.report.study_story import Line, StudyTable
from resnext.report.study_words import capital

_COLOURS = (FIRST, SECOND, INK)
_APART = 0.14  # of the step between two places, so that one interval does not hide another
_LEAST_SPREAD = 1.1
_LONGEST_LABEL = 26
_LABEL_SHARE, _CLUSTER_SHARE = 0.075, 0.06  # of the height of a figure, and of its width
_MOST_LABELS, _MOST_PLACES = 20, 12

Series = tuple[Line, ...]
Count = Literal["macs", "params"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Drawing:
    """A figure, the words over it, and what its colours stand for, by their names in the stylesheet.

    `is_ours` is False where it shows published figures alone.
    """

    title: str
    words: str
    keys: tuple[tuple[str, str], ...]
    figure: Figure
    is_ours: bool = True


def drawings(table: StudyTable) -> tuple[Drawing, ...]:
    """Return the figures that say something about a study; none compares fewer than two settings."""
    drawn = [
        error_by_cardinality(table),
        paper_by_cardinality(table),
        training_curves(table),
        error_by_complexity(table, "macs"),
        error_by_complexity(table, "params"),
    ]
    return tuple(drawing for drawing in drawn if drawing)


def training_curves(table: StudyTable) -> Drawing | None:
    """Draw the top-1 errors over epochs, means over seeds, of three settings or of the outermost two."""
    lines = _told_apart([line for line in table.lines if line.curve], table)
    if len(lines) < 2:
        return None
    figure, axes = _panel(table, "top-1 error by epoch, in percent")
    for line, colour in zip(lines, _COLOURS, strict=False):
        epochs = [mean.epoch for mean in line.curve]
        axes.plot(epochs, [mean.held_out for mean in line.curve], color=colour, linewidth=1.6, zorder=3)
        axes.plot(epochs, [mean.train for mean in line.curve], color=colour, linewidth=1.2, dashes=(3, 2), zorder=2)
    finish(axes, max(mean.epoch for line in lines for mean in line.curve))
    return Drawing(
        title="Top-1 error, %, by epoch",
        words="solid: held out; dashed: training, as augmented; means over seeds",
        keys=_keys([line.setting for line in lines]),
        figure=figure,
    )


def error_by_cardinality(table: StudyTable) -> Drawing | None:
    """Draw the figures of settings from few wide paths to many narrow ones, and the paper's where they compare."""
    series = _rising(table.lines, _paths, lambda line: line.last is not None)
    if not series:
        return None
    figure, axes = _panel(table, f"{table.quantity}, by cardinality and width")
    places = _places(axes, series, _paths)
    has_paper = not table.is_proxy and any(line.paper for line in table.lines)
    for number, (lines, colour) in enumerate(zip(series, _COLOURS, strict=False)):
        shift = _APART * (number - (len(series) - 1) / 2)
        _dots(axes, [(places[_paths(line)] + shift, line) for line in lines], colour, is_joined=True)
        if has_paper:
            _paper_dots(axes, [(places[_paths(line)] + shift + _APART / 2, line) for line in lines], colour)
    axes.set_xlabel("C x d: paths, and the width of each")
    return Drawing(
        title=f"{capital(table.quantity)}, by cardinality and width",
        words=_dot_words(table, has_paper=has_paper),
        keys=_keys([_name(lines) for lines in series]) if len(series) > 1 else (),
        figure=figure,
    )


def paper_by_cardinality(table: StudyTable) -> Drawing | None:
    """Draw the paper's figures beside a proxy's, in a figure of their own: they are on another scale."""
    series = _rising(table.lines, _cardinality, lambda line: line.paper is not None) if table.is_proxy else ()
    if not series:
        return None
    figure, axes = _panel(table, "the paper's figures by cardinality")
    places = _places(axes, series, _cardinality)
    for lines, colour in zip(series, _COLOURS, strict=False):
        _paper_dots(axes, [(places[_cardinality(line)], line) for line in lines], colour, is_joined=True)
    axes.set_xlabel("cardinality C")
    return Drawing(
        title="The paper's, by cardinality",
        words="of its own networks and images, on another scale",
        keys=_keys([_name(lines) for lines in series]) if len(series) > 1 else (),
        figure=figure,
        is_ours=False,
    )


def error_by_complexity(table: StudyTable, count: Count) -> Drawing | None:
    """Draw the figures of settings against what they cost; nothing where all cost about the same."""
    lines = [line for line in table.lines if line.last]
    costs = [float(getattr(line, count)) for line in lines]
    if len(lines) < 2 or max(costs) < _LEAST_SPREAD * min(costs):
        return None
    words = {"macs": "multiply-accumulates", "params": "parameters"}[count]
    figure, axes = _panel(table, f"{table.quantity}, by {words}")
    has_paper = not table.is_proxy and any(line.paper for line in lines)
    for colour, is_one in ((FIRST, True), (SECOND, False)):
        some = [(cost, line) for cost, line in zip(costs, lines, strict=True) if (line.cardinality < 2) == is_one]
        _dots(axes, some, colour)
        if has_paper:
            _paper_dots(axes, some, colour)
    axes.margins(x=0.12, y=0.12)
    axes.xaxis.set_major_locator(MaxNLocator(nbins=5))
    axes.xaxis.set_major_formatter(EngFormatter())
    axes.set_xlabel(words)
    if len(lines) <= _MOST_LABELS:
        _label(axes, costs, lines)
    return Drawing(
        title=f"{capital(table.quantity)}, by {words}",
        words=_dot_words(table, has_paper=has_paper),
        keys=_keys(["C\u00a0=\u00a01", "C\u00a0>\u00a01"]),
        figure=figure,
    )


def _told_apart(lines: Sequence[Line], table: StudyTable) -> Sequence[Line]:
    """Return all of a few lines, else the outermost of the last series that there is."""
    if len(lines) <= len(_COLOURS):
        return lines
    series = _rising(table.lines, _paths, lambda line: line in lines)
    return (series[-1][0], series[-1][-1]) if series else (lines[0], lines[-1])


def _rising(
    lines: Sequence[Line], place: Callable[[Line], str], has_figure: Callable[[Line], bool]
) -> tuple[Series, ...]:
    """Return lines in series along which cardinality rises; none where they do not fall into a few such.

    Lines of one place belong to one series each, in their order: at two depths, or with shortcuts and without.
    """
    found: list[list[Line]] = []
    for line in lines:
        earlier = sum(place(line) == place(other) for lines in found for other in lines)
        if earlier == len(found):
            found.append([])
        found[earlier].append(line)
    series = [tuple(filter(has_figure, lines)) for lines in found]
    series = [lines for lines in series if len(lines) > 1]
    paths = [[line.cardinality for line in lines] for lines in series]
    is_rising = all(numbers == sorted(numbers) and numbers[0] < numbers[-1] for numbers in paths)
    is_legible = len(series) <= len(_COLOURS) and len({place(line) for line in lines}) <= _MOST_PLACES
    return tuple(series) if is_rising and is_legible else ()


def _paths(line: Line) -> str:
    return f"{line.cardinality}x{line.base_width}d"


def _cardinality(line: Line) -> str:
    return str(line.cardinality)


def _panel(table: StudyTable, words: str) -> tuple[Figure, Axes]:
    figure, axes = panel(f"{table.title}, {table.scale}: {words}")
    axes.yaxis.set_major_locator(MaxNLocator(nbins=5))
    return figure, axes


def _places(axes: Axes, series: Sequence[Series], place: Callable[[Line], str]) -> dict[str, int]:
    """Return where on the axis each place is, and write its name there."""
    names = sorted({(line.cardinality, -line.base_width, place(line)) for lines in series for line in lines})
    places = {name: number for number, name in enumerate(dict.fromkeys(name for *_, name in names))}
    axes.set_xticks(list(places.values()), list(places))
    axes.set_xlim(-0.5, len(places) - 0.5)
    return places


def _dots(axes: Axes, pairs: Sequence[tuple[float, Line]], colour: str, *, is_joined: bool = False) -> None:
    """Draw means, and their intervals where they have one."""
    told = sorted(((x, line.last) for x, line in pairs if line.last), key=lambda dot: dot[0])
    if is_joined:
        axes.plot([x for x, _ in told], [last.mean for _, last in told], color=colour, linewidth=1, alpha=0.5)
    for x, last in told:
        axes.errorbar(x, last.mean, last.half_width, fmt="o", color=colour, markersize=5, capsize=3, elinewidth=1.2)


def _paper_dots(axes: Axes, pairs: Sequence[tuple[float, Line]], colour: str, *, is_joined: bool = False) -> None:
    told = sorted((x, line.paper.value) for x, line in pairs if line.paper)
    axes.plot(
        [x for x, _ in told],
        [value for _, value in told],
        "o-" if is_joined else "o",
        color=colour,
        linewidth=1,
        markersize=5,
        markerfacecolor=PAPER,
    )


def _label(axes: Axes, places: Sequence[float], lines: Sequence[Line]) -> None:
    """Write the name of each line towards the middle of the figure, beside all dots nearby, none over another."""
    (left, right), (low, high) = axes.get_xlim(), axes.get_ylim()
    dots = [
        (line.last.mean, x, name)
        for x, line, name in zip(places, lines, _names(lines), strict=True)
        if line.last is not None
    ]
    for is_left in (True, False):
        half = sorted(dot for dot in dots if (dot[1] < (left + right) / 2) == is_left)
        level = -math.inf
        for y, x, name in half:
            level = max(y, level + _LABEL_SHARE * (high - low))
            beside = [other for _, other, _ in half if abs(other - x) < _CLUSTER_SHARE * (right - left)]
            axes.annotate(
                name,
                (max(beside) if is_left else min(beside), level),
                (7 if is_left else -7, 0),
                textcoords="offset points",
                ha="left" if is_left else "right",
                va="center",
                color=SOFT,
                size=FONT_POINTS,
                parse_math=False,
            )


def _names(lines: Sequence[Line]) -> list[str]:
    """Name lines as short as tells them apart: 32x4d, or that and what follows it, or the whole setting."""
    whole = [line.setting for line in lines]
    short = [_paths(line) for line in lines]
    longer = [setting[max(0, setting.find(paths)) :] for setting, paths in zip(whole, short, strict=True)]
    names = next((names for names in (short, longer) if len(set(names)) == len(names)), whole)
    return [_drawable(name) for name in names]


def _drawable(name: str) -> str:
    """Return a name in letters that every font has, its middle left out where it is too long for a figure."""
    plain = "".join(letter if letter.isascii() and letter.isprintable() else "?" for letter in name)
    half = _LONGEST_LABEL // 2
    return plain if len(plain) <= _LONGEST_LABEL else f"{plain[: half - 1]}...{plain[2 - half :]}"


def _keys(names: Sequence[str]) -> tuple[tuple[str, str], ...]:
    return tuple((variable(colour), name) for colour, name in zip(_COLOURS, names, strict=False))


def _name(lines: Series) -> str:
    return f"{lines[0].setting} to {lines[-1].setting}"


def _dot_words(table: StudyTable, *, has_paper: bool) -> str:
    has_bars = any(line.last and line.last.half_width for line in table.lines)
    words = ["bars: 95 % intervals over seeds" if has_bars else "too few seeds for intervals"]
    if has_paper:
        words.append("hollow: the paper's")
    return "; ".join([*words, "the axis does not begin at zero"])
