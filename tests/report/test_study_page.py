import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from resnext.evaluation.estimate import Estimate
from resnext.report.study_page import study_page
from resnext.report.study_story import Calculated, Line, PublishedFigure, StudyStory, StudyTable

TellStudy = Callable[..., StudyTable]
TellStudies = Callable[..., StudyStory]
TellLine = Callable[..., Line]
Read = Callable[[str], Any]

HOSTILE = "<script>alert('\"1\"')</script>&amp;"


@pytest.fixture(scope="session")
def story(tell_study: TellStudy, tell_studies: TellStudies) -> StudyStory:
    """Return the story of a proxy of Table 3."""
    return tell_studies(tell_study(), problems=("a line is torn",))


@pytest.fixture(scope="session")
def html(story: StudyStory) -> str:
    """Return its page."""
    return study_page(story)


@pytest.fixture(scope="session")
def bare(tell_study: TellStudy, tell_line: TellLine) -> Callable[..., StudyTable]:
    """Return a study of one setting, which has no figures and so is quick to write."""

    def make(line: dict[str, Any] | None = None, **given: Any) -> StudyTable:
        return tell_study(**{"lines": (tell_line(**(line or {})),), **given})

    return make


def test_every_fact_of_the_study_is_on_the_page(html: str, story: StudyStory, read: Read) -> None:
    words = read(html).words
    [table] = story.tables
    expected = [
        *(table.title, table.question, table.claim, table.scale_title, table.protocol, table.rerun),
        *("supports the paper's trend", "Page's test of errors that fall along the settings: p = 0.012."),
        "resnext11_2x19d 2 19 8.02 \u00b1 0.21 5 23.0 7.72 \u00b1 0.19 412.0 k 14.40 M 1,234 1 min 1 s",
        "slope for each doubling of C, 11 layers \u22120.22 \u00b1 0.06 5 supports yes",
        *("epochs 300 8", "image.size 32 8", "machine cpu, 2 cores", "a line is torn"),
        *(line.rerun for line in table.lines),
        *("1x64d 64 64 69,632 69,632", "32x4d 128 128 70,144 -", "every published value is the calculated one"),
    ]
    assert [fact for fact in expected if fact not in words] == []


def test_a_page_of_studies_needs_nothing_but_itself(html: str, read: Read) -> None:
    page = read(html)
    assert "http" not in html and "@import" not in html
    assert [address for address in page.addresses if not re.fullmatch(r"#[\w-]+", address)] == []
    assert re.findall(r"url\((?!#)", html) == []
    assert not {"script", "link", "iframe", "object", "embed", "img"} & set(page.tags)


def test_what_is_referred_to_is_there_once(story: StudyStory, read: Read) -> None:
    twice = study_page(replace(story, tables=(*story.tables, replace(story.tables[0], scale="other"))))
    page = read(twice)
    assert len(page.ids) == len(set(page.ids))
    referred = set(re.findall(r"url\(#([^)]+)\)", twice)) | {a[1:] for a in page.addresses if a.startswith("#")}
    assert referred == set(page.ids)


def test_the_same_story_makes_the_same_page(html: str, story: StudyStory) -> None:
    assert study_page(story) == html


def test_a_proxy_is_called_one_wherever_its_figures_stand(html: str, bare: TellStudy, tell_studies: Any) -> None:
    assert html.count('<span class="proxy">proxy</span>') == 6  # overview, title, two tables, two figures
    assert "ours (proxy)" in html
    assert "it tests the paper&#39;s trend, not its figures" in html
    assert "proxy</span>" not in study_page(tell_studies(bare(is_proxy=False)))


@pytest.mark.parametrize(
    "field",
    ["title", "question", "claim", "data", "scale", "quantity", "protocol", "sweep", "rerun", "facts", "setting"],
)
def test_names_are_words_on_the_page_and_nothing_more(
    bare: TellStudy, tell_studies: TellStudies, read: Read, field: str
) -> None:
    given: dict[str, Any] = {"facts": {"facts": {HOSTILE: HOSTILE}}, "setting": {"line": {"setting": HOSTILE}}}
    page = read(study_page(tell_studies(bare(**given.get(field, {field: HOSTILE})))))
    assert "script" not in page.tags
    assert HOSTILE in page.words


def test_a_setting_without_a_result_and_failed_runs_are_said(
    bare: TellStudy, tell_studies: TellStudies, read: Read
) -> None:
    nothing = {"last": None, "best": None, "images_per_second": None, "seconds": None, "curve": (), "num_failed": 2}
    page = read(study_page(tell_studies(bare(nothing))))
    assert "resnet11_1x32d 1 32 no result yet 0 of 5, 2 failed - 423.8 k 14.90 M - -" in page.words
    assert "svg" not in page.tags
    assert "best epoch" not in page.words
    one = read(study_page(tell_studies(bare({"last": Estimate(8.0, None, 1)}))))
    assert "8.00 1 of 5, no interval" in one.words


def test_others_stand_beside_the_paper_with_name_and_protocol(
    bare: TellStudy, tell_studies: TellStudies, read: Read
) -> None:
    other = PublishedFigure(value=3.8, protocol="last epoch", source="the log of a run", by="another framework")
    paper = PublishedFigure(value=3.58, protocol="mean of 10 runs", source="arXiv 1611.05431v2")
    words = read(study_page(tell_studies(bare({"others": (other,), "paper": paper})))).words
    assert "3.58 3.8 " in words
    assert "resnet11_1x32d, 3.8: another framework, the log of a run: last epoch." in words
    assert "The paper's figures: mean of 10 runs." in words


def test_an_empty_ledger_says_how_to_begin(tell_studies: TellStudies, read: Read) -> None:
    page = read(study_page(tell_studies(calculated=())))
    assert "The ledger holds nothing yet." in page.words
    assert "resnext study run table3 --scale digits" in page.words
    assert not {"svg", "table"} & set(page.tags)


def test_a_calculated_number_that_is_not_the_papers_is_marked(tell_studies: TellStudies) -> None:
    other = Calculated(title="t", quantities=("q", "r"), rows=(("a", ((1, 2), (3, 3))),))
    text = study_page(tell_studies(calculated=(other,)))
    assert "not every published value" in text
    assert text.count('class="number stopped">1<') == text.count(" stopped") == 1


def test_a_study_that_nobody_has_claimed_anything_of_has_no_verdict(
    bare: TellStudy, tell_studies: TellStudies, read: Read
) -> None:
    words = read(study_page(tell_studies(bare(verdict=None, claim="", departures=())))).words
    assert "no verdict Nobody has claimed anything" in words
    assert "The paper: " not in words
    assert "is the paper's in every field that is compared" in words


def test_many_problems_are_counted(tell_studies: TellStudies, read: Read) -> None:
    told = tell_studies(problems=tuple(f"run {number} is broken" for number in range(1234)))
    words = read(study_page(told)).words
    assert words.count("is broken") == 200
    assert "and 1,034 more, all in ledger.jsonl" in words
