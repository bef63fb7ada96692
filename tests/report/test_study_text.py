import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from resnext.evaluation.estimate import Estimate
from resnext.report.study_story import Calculated, Line, PublishedFigure, StudyStory, StudyTable
from resnext.report.study_text import study_markdown, study_summary

TellStudy = Callable[..., StudyTable]
TellStudies = Callable[..., StudyStory]
TellLine = Callable[..., Line]

HOSTILE = "<script>a</script> | `b` **c** _d_ [e](f) ~~g~~\n# h"


def rows(markdown: str, of: str) -> list[list[str]]:
    """Return the cells of the table whose first column is called so."""
    lines = markdown[markdown.index(f"| {of} |") :].partition("\n\n")[0].splitlines()
    return [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines]


def test_the_markdown_of_a_study_is_as_it_was_seen(
    tell_study: TellStudy, tell_studies: TellStudies, tell_line: TellLine, golden: Callable[[str, str], None]
) -> None:
    others = (
        PublishedFigure(value=23.5, protocol="90 epochs", source="runs that end early", by="users of an example"),
        PublishedFigure(value=22.0, protocol="100 epochs", source="published elsewhere", by="various sources"),
    )
    paper = PublishedFigure(value=22.2, protocol="single crop 224", source="arXiv 1611.05431v2")
    open_table = tell_study(
        scale="imagenet",
        scale_title="ImageNet-1K at 224x224 pixels, as in section 4",
        is_proxy=False,
        verdict="inconclusive",
        lines=(
            tell_line(last=Estimate(23.9, None, 1), best=None, num_failed=1),
            tell_line(32, 4, last=None, best=None, paper=paper, others=others, images_per_second=None, seconds=None),
        ),
        findings=(replace(tell_study().findings[1], estimate=None, verdict="inconclusive"),),
        page_p=None,
        departures=(),
        facts={},
    )
    golden("study_report.md", study_markdown(tell_studies(tell_study(), open_table, problems=("a run failed",))))


def test_the_summary_has_a_row_for_each_study(tell_study: TellStudy, tell_studies: TellStudies) -> None:
    told = tell_studies(tell_study(), tell_study(is_proxy=False, scale="imagenet", verdict="contradicts"))
    head, _, proxy, whole = rows(study_summary(told), "question")
    assert head == ["question", "scale", "seeds", "verdict", "key finding"]
    assert proxy[1:4] == ["digits (proxy)", "5", "supports the paper's trend"]
    assert whole[1:4] == ["imagenet", "5", "contradicts the paper"]


def test_an_empty_ledger_says_how_to_begin(tell_studies: TellStudies) -> None:
    for text in (study_summary(tell_studies()), study_markdown(tell_studies())):
        assert "The ledger holds nothing yet." in text
        assert "```\nresnext study run table3 --scale digits\n```" in text


def test_names_are_words_in_markdown_and_keep_tables_whole(
    tell_study: TellStudy, tell_studies: TellStudies, tell_line: TellLine
) -> None:
    values: dict[str, Any] = dict.fromkeys(("title", "question", "claim", "data", "quantity", "protocol"), HOSTILE)
    published = PublishedFigure(value=1.5, protocol=HOSTILE, source=HOSTILE, by=HOSTILE)
    lines = (tell_line(setting=HOSTILE, paper=published, others=(published,)), tell_line(2, 19))
    findings = (replace(tell_study().findings[0], name=HOSTILE),)
    table = tell_study(**values, lines=lines, findings=findings, facts={HOSTILE: HOSTILE})
    text = study_markdown(tell_studies(table, problems=(HOSTILE,)))
    assert "<script" not in text
    assert "\n# h" not in text
    assert not re.search(r"(?<!\\)[*`\[~]\w", text.replace("**Proxy", "").replace("**Verdict", ""))
    for of in ("setting", "contrast"):
        assert len({len(row) for row in rows(text, of)}) == 1
    assert len({len(row) for row in rows(study_summary(tell_studies(table)), "question")}) == 1


def test_a_fence_holds_whatever_is_in_a_command(tell_study: TellStudy, tell_studies: TellStudies) -> None:
    text = study_markdown(tell_studies(tell_study(rerun="resnext '```' | x")))
    assert "````\nresnext '```' | x\n````" in text


def test_the_file_of_a_sweep_stands_above_its_command(tell_study: TellStudy, tell_studies: TellStudies) -> None:
    table = tell_study(sweep="[axes]\ncardinality = [1, 2]\n", rerun="resnext study run own.toml")
    text = study_markdown(tell_studies(table))
    assert "```\n[axes]\ncardinality = [1, 2]\n```\n\n```\nresnext study run own.toml\n```" in text


def test_calculated_numbers_stand_beside_the_papers(tell_studies: TellStudies) -> None:
    text = study_markdown(tell_studies())
    assert rows(text, "setting")[2:] == [
        ["1x64d", "64", "64", "69,632", "69,632"],
        ["32x4d", "128", "128", "70,144", "-"],
    ]
    assert "every published value is the calculated one" in text
    other = Calculated(title="t", quantities=("q",), rows=(("a", ((1, 2),)),))
    assert "not every published value" in study_markdown(tell_studies(calculated=(other,)))


def test_columns_that_say_nothing_are_left_out(tell_study: TellStudy, tell_studies: TellStudies) -> None:
    assert "others" not in rows(study_markdown(tell_studies(tell_study())), "setting")[0]
