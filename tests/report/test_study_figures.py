from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest
from matplotlib.axes import Axes

from resnext.evaluation.estimate import Estimate
from resnext.report.page import svg
from resnext.report.study_figures import (
    Drawing,
    drawings,
    error_by_cardinality,
    error_by_complexity,
    paper_by_cardinality,
    training_curves,
)
from resnext.report.study_story import Line, PublishedFigure, StudyTable

TellStudy = Callable[..., StudyTable]
TellLine = Callable[..., Line]


def axes_of(drawing: Drawing | None) -> Axes:
    assert drawing is not None
    return drawing.figure.axes[0]


def heights(axes: Axes) -> list[list[float]]:
    return [[y for _, y in line.get_xydata().tolist()] for line in axes.lines]  # type: ignore[union-attr]


def paper(value: float) -> PublishedFigure:
    return PublishedFigure(value=value, protocol="single crop 224", source="s")


@pytest.fixture(scope="session")
def two_depths(tell_study: TellStudy, tell_line: TellLine) -> StudyTable:
    """Return the paper's own study, of networks of two depths, as in Table 3."""
    lines = tuple(
        tell_line(
            paths, width, setting=f"{depth} layers, {paths}x{width}d", mean=error, macs=macs, paper=paper(error - 0.1)
        )
        for depth, macs, errors in ((50, 4_000_000_000, (23.9, 22.2)), (101, 8_000_000_000, (22.0, 21.2)))
        for (paths, width), error in zip(((1, 64), (32, 4)), errors, strict=True)
    )
    return tell_study(is_proxy=False, scale="imagenet", lines=lines)


def test_curves_are_of_the_outermost_settings_solid_and_dashed(tell_study: TellStudy) -> None:
    table = tell_study()
    drawing = training_curves(table)
    drawn = axes_of(drawing).lines
    told = [line.curve for line in (table.lines[0], table.lines[-1])]
    assert heights(axes_of(drawing)) == [
        [getattr(mean, kind) for mean in curve] for curve in told for kind in ("held_out", "train")
    ]
    assert [line.get_linestyle() for line in drawn] == ["-", "--"] * 2
    assert drawing and drawing.keys == (("first", "resnet11_1x32d"), ("second", "resnext11_32x2d"))


def test_three_settings_are_all_drawn_and_two_depths_by_the_deeper(
    tell_study: TellStudy, two_depths: StudyTable
) -> None:
    few = training_curves(tell_study(lines=tell_study().lines[:3]))
    assert few and [name for _, name in few.keys] == ["resnet11_1x32d", "resnext11_2x19d", "resnext11_4x12d"]
    deeper = training_curves(two_depths)
    assert deeper and [name for _, name in deeper.keys] == ["101 layers, 1x64d", "101 layers, 32x4d"]


def test_error_stands_over_cardinality_with_its_width(tell_study: TellStudy) -> None:
    axes = axes_of(error_by_cardinality(tell_study()))
    assert [label.get_text() for label in axes.get_xticklabels()] == ["1x32d", "2x19d", "4x12d", "8x7d", "32x2d"]
    assert heights(axes)[0] == [8.31, 8.02, 7.64, 7.55, 7.21]
    assert len(axes.collections) == 5  # an interval each


def test_the_papers_figures_have_a_scale_of_their_own_beside_a_proxy(
    tell_study: TellStudy, two_depths: StudyTable
) -> None:
    proxy = tell_study()
    assert all(y < 9 for line in heights(axes_of(error_by_cardinality(proxy))) for y in line)
    beside = paper_by_cardinality(proxy)
    assert heights(axes_of(beside)) == [[23.9, 23.0, 22.6, 22.3, 22.2]]
    assert beside and not beside.is_ours
    assert paper_by_cardinality(two_depths) is None
    same = error_by_cardinality(two_depths)
    assert same and "hollow: the paper's" in same.words
    assert pytest.approx([23.8, 22.1]) in heights(axes_of(same))


def test_two_depths_are_two_series_over_the_same_places(two_depths: StudyTable) -> None:
    drawing = error_by_cardinality(two_depths)
    assert [label.get_text() for label in axes_of(drawing).get_xticklabels()] == ["1x64d", "32x4d"]
    assert drawing and [name for _, name in drawing.keys] == [
        "50 layers, 1x64d to 50 layers, 32x4d",
        "101 layers, 1x64d to 101 layers, 32x4d",
    ]


def test_error_stands_over_complexity_where_it_differs(tell_study: TellStudy, two_depths: StudyTable) -> None:
    assert error_by_complexity(tell_study(), "macs") is None
    axes = axes_of(error_by_complexity(two_depths, "macs"))
    assert sorted(text.get_text() for text in axes.texts) == [
        line.setting for line in sorted(two_depths.lines, key=lambda line: line.setting)
    ]
    assert error_by_complexity(two_depths, "params") is None


def test_labels_stand_apart(tell_study: TellStudy, tell_line: TellLine) -> None:
    lines = [tell_line(paths, paths, mean=8 + paths / 1e3, macs=10_000 + paths // 8) for paths in range(1, 9)]
    axes = axes_of(error_by_complexity(tell_study(lines=(*lines, tell_line(64, 1, macs=99_000))), "macs"))
    low, high = axes.get_ylim()
    levels = sorted(text.xy[1] for text in axes.texts if text.get_ha() == "left")  # type: ignore[attr-defined]
    assert len(levels) == 8
    assert min(b - a for a, b in pairwise(levels)) > 0.07 * (high - low)


@pytest.mark.parametrize("num_told", [0, 1])
def test_nothing_is_drawn_of_fewer_than_two_results(tell_study: TellStudy, num_told: int) -> None:
    lines = tell_study().lines
    bare = [replace(line, last=None, best=None, curve=(), paper=None) for line in lines]
    assert drawings(tell_study(lines=(*lines[:num_told], *bare[num_told:]))) == ()


def test_settings_that_do_not_rise_in_cardinality_have_no_such_figure(
    tell_study: TellStudy, tell_line: TellLine
) -> None:
    same = tuple(tell_line(8, 4, setting=f"rate {number}") for number in range(4))
    falling = (tell_line(32, 2), tell_line(1, 32))
    for lines in (same, falling, tuple(tell_line(paths, 1) for paths in range(1, 40))):
        assert error_by_cardinality(tell_study(lines=lines)) is None


def test_any_name_can_be_drawn_and_stays_a_name(tell_study: TellStudy, tell_line: TellLine) -> None:
    names = ("$x_{<b>$", "\u540d\u524d \x00", "y" * 500)
    lines: Any = tuple(tell_line(setting=name, macs=number + 1) for number, name in enumerate(names))
    drawing = error_by_complexity(tell_study(lines=lines, title="<script>"), "macs")
    assert drawing
    drawn = svg(drawing.figure)
    assert "$x_{&lt;b&gt;$" in drawn and "<b>" not in drawn and "<script" not in drawn
    assert "\u540d" not in drawn and "y" * 30 not in drawn


def test_a_figure_says_where_it_has_no_intervals(tell_study: TellStudy) -> None:
    lines = tuple(replace(line, last=Estimate(8.0 + number, None, 1)) for number, line in enumerate(tell_study().lines))
    drawing = error_by_cardinality(tell_study(lines=lines))
    assert drawing and drawing.words.startswith("too few seeds for intervals")
