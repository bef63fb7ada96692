from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from resnext.evaluation.estimate import Estimate
from resnext.report.study_story import Finding, Line, PublishedFigure, StudyTable
from resnext.report.study_words import (
    change_words,
    counted,
    exact,
    figure_words,
    finding_words,
    overview,
    paper_figure,
    seeds_words,
    table_notes,
    trend_words,
    verdict_reason,
    verdict_words,
)

TellStudy = Callable[..., StudyTable]
TellLine = Callable[..., Line]


def finding(estimate: Estimate | None, **given: Any) -> Finding:
    values = {"name": "a against b", "verdict": "inconclusive", "decides": True, "seeds_needed": None}
    return Finding(**{**values, "estimate": estimate, **given})


@pytest.mark.parametrize(
    ("verdict", "is_proxy", "words"),
    [
        ("supports", True, "supports the paper's trend"),
        ("supports", False, "supports the paper"),
        ("contradicts", True, "contradicts the paper's trend"),
        ("contradicts", False, "contradicts the paper"),
        ("inconclusive", True, "inconclusive"),
        (None, False, "no verdict"),
    ],
)
def test_a_proxy_speaks_of_the_trend_alone(tell_study: TellStudy, verdict: Any, is_proxy: bool, words: str) -> None:
    table = tell_study(verdict=verdict, is_proxy=is_proxy)
    assert verdict_words(table) == words
    assert verdict_reason(table).endswith(".")


@pytest.mark.parametrize(
    ("needed", "estimate", "words"),
    [
        (1200, Estimate(-0.1, 0.3, 5), "about 1,200 seeds would decide"),
        (None, Estimate(-0.1, 0.3, 5), "cannot be told from this spread, or is more than a thousand"),
        (None, Estimate(-0.1, None, 1), "One seed has no spread"),
        (None, None, "has no result yet"),
    ],
)
def test_what_is_inconclusive_says_how_many_seeds_would_decide_or_why_nobody_knows(
    tell_study: TellStudy, needed: int | None, estimate: Estimate | None, words: str
) -> None:
    table = tell_study(verdict="inconclusive", seeds_needed=needed, findings=(finding(estimate),))
    assert words in verdict_reason(table)


def test_a_finding_says_what_it_says_of_the_claim() -> None:
    some = Estimate(-0.1, 0.3, 5)
    assert finding_words(finding(some, seeds_needed=12)) == "inconclusive; about 12 seeds would decide"
    assert finding_words(finding(some)) == "inconclusive"
    assert finding_words(finding(some, verdict="supports", seeds_needed=12)) == "supports"
    assert finding_words(finding(some, verdict=None)) == "nobody has claimed anything"


def test_figures_have_their_interval_where_there_is_one() -> None:
    assert figure_words(Estimate(23.456, 0.321, 5)) == "23.46 \u00b1 0.32"
    assert figure_words(Estimate(23.456, None, 1)) == "23.46"
    assert figure_words(None) == change_words(None) == "no result yet"
    assert change_words(Estimate(-1.1, 0.3, 5)) == "\u22121.10 \u00b1 0.30"
    assert change_words(Estimate(0.5, None, 1)) == "+0.50"


@pytest.mark.parametrize(
    ("estimate", "asked", "num_failed", "words"),
    [
        (Estimate(1, 0.1, 5), 5, 0, "5"),
        (Estimate(1, 0.1, 3), 5, 2, "3 of 5, 2 failed"),
        (Estimate(1, None, 1), 1, 0, "1, no interval"),
        (Estimate(1, None, 3), None, 0, "3, all alike, no interval"),
        (None, 5, 1, "0 of 5, 1 failed"),
    ],
)
def test_seeds_are_counted_and_what_is_missing_is_said(
    estimate: Estimate | None, asked: int | None, num_failed: int, words: str
) -> None:
    assert seeds_words(estimate, asked, num_failed) == words


def test_the_key_finding_is_the_first_that_decides(tell_study: TellStudy) -> None:
    row = overview(tell_study())
    assert row.key == "slope for each doubling of C, 11 layers: \u22120.22 \u00b1 0.06 points"
    assert (row.scale, row.seeds, row.verdict) == ("digits (proxy)", "5", "supports the paper's trend")
    waiting = replace(tell_study().findings[1], estimate=None)
    assert "against" in overview(tell_study(findings=(tell_study().findings[0], waiting))).key
    undecided = overview(tell_study(verdict="inconclusive", seeds_needed=12))
    assert undecided.verdict == "inconclusive; about 12 seeds would decide"
    nothing = overview(tell_study(findings=(waiting,), is_proxy=False))
    assert (nothing.key, nothing.seeds, nothing.scale) == ("-", "0 of 5", "digits")


def test_the_papers_figures_have_the_same_digits(tell_study: TellStudy) -> None:
    table = tell_study()
    assert [paper_figure(table, line) for line in table.lines] == ["23.9", "23.0", "22.6", "22.3", "22.2"]
    bare = tell_study(lines=(replace(table.lines[0], paper=None),))
    assert paper_figure(bare, bare.lines[0]) == "-"


def test_notes_say_what_the_figures_under_a_table_mean_and_no_more(tell_study: TellStudy, tell_line: TellLine) -> None:
    proxy, whole = tell_study(), tell_study(is_proxy=False)
    assert [note for note in table_notes(proxy) if "compare their order only" in note]
    assert not [note for note in table_notes(whole) if "compare their order only" in note]
    assert [note for note in table_notes(whole) if note == "The paper's figures: single crop 224, shorter side 256."]
    assert table_notes(tell_study(lines=(tell_line(last=None, best=None),))) == ()
    other = PublishedFigure(value=1, protocol="ten crops", source="s")
    mixed = tell_study(lines=(*whole.lines, tell_line(paper=other)))
    assert not [note for note in table_notes(mixed) if "The paper's figures:" in note]


@pytest.mark.parametrize(
    ("number", "words"),
    [(7, "7"), (512, "512"), (423_818, "423.8 k"), (25_028_904, "25.03 M"), (4_230_479_872, "4.230 G")],
)
def test_large_numbers_have_four_digits(number: int, words: str) -> None:
    assert counted(number) == words


def test_calculated_numbers_have_all_their_digits() -> None:
    assert [exact(value) for value in (10_688_866_304, 25.425, 64)] == ["10,688,866,304", "25.425", "64"]


@pytest.mark.parametrize(("p", "words"), [(0.0123, "p = 0.012."), (0.0004, "p < 0.001.")])
def test_a_p_value_is_never_written_as_nought(p: float, words: str) -> None:
    assert trend_words(p).endswith(words)
