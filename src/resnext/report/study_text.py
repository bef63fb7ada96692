"""The report of studies as Markdown for GitHub, and the short table for the README."""

import re
from collections.abc import Iterator, Sequence, Set

from resnext.report import study_words as words
from resnext.report.page import plain, shortened
from resnext.report.study_story import Calculated, Line, StudyStory, StudyTable
from resnext.report.words import duration

# What GitHub would take for markup, but underscores within words, which it leaves alone.
_MARKUP = re.compile(r"[\\`*\[\]|~!#]|(?<![A-Za-z0-9])_|_(?![A-Za-z0-9])|^[-+=](?=.)")


def study_markdown(story: StudyStory) -> str:
    """Return the report of a ledger as Markdown."""
    parts = ["# Studies of ResNeXt", study_summary(story)]
    for table in story.tables:
        parts += _study(table)
    for calculated in story.calculated:
        parts += _calculated(calculated)
    if story.problems:
        parts += ["## Problems", "\n".join(f"- {_text(problem)}" for problem in story.problems)]
    return _joined(parts)


def study_summary(story: StudyStory) -> str:
    """Return a row for each study as Markdown: question, scale, seeds, verdict and the finding that tells most."""
    if not story.tables:
        return _joined([words.EMPTY, _code(words.BEGIN)])
    rows = [
        [_text(row.question), _text(row.scale), row.seeds, row.verdict, _text(row.key)]
        for row in map(words.overview, story.tables)
    ]
    return _joined([_table(["question", "scale", "seeds", "verdict", "key finding"], rows)])


def _study(table: StudyTable) -> Iterator[str]:
    proxy = " (proxy)" if table.is_proxy else ""
    yield f"## {_text(table.title)}{proxy}"
    yield f"{_text(table.scale_title)}; data: {_text(table.data)}"
    if table.is_proxy:
        yield f"**Proxy.** {words.PROXY}"
    yield _text(table.question) + (f" The paper: {_text(table.claim)}" if table.claim else "")
    yield f"**Verdict: {words.verdict_words(table)}.** {words.verdict_reason(table)}"
    yield f"### {_text(words.capital(table.quantity))}{proxy}"
    yield _text(table.protocol)
    yield _settings(table)
    yield " ".join(map(_text, words.table_notes(table)))
    if table.findings:
        yield f"### Findings{proxy}"
        yield from _findings(table)
    if table.facts:
        yield "### How these runs were made"
        yield "\n".join(f"- {_text(name)}: {_text(value)}" for name, value in table.facts.items())
    yield from _departures(table)
    yield "### Run it again"
    if table.sweep is not None:
        yield _code(table.sweep.strip("\n"))
    yield _code(table.rerun)
    yield "<details><summary>Each setting by itself</summary>"
    for line in table.lines:
        yield f"{_text(line.setting)}:"
        yield _code(line.rerun)
    yield "</details>"


def _settings(table: StudyTable) -> str:
    ours = "ours (proxy)" if table.is_proxy else "ours"
    numbers = {"C", "d", ours, "paper", "others", "best epoch", "params", "MACs", "images/s", "time a run"}
    columns = ["setting", "C", "d", ours, "seeds", "paper", "others", "best epoch", "params", "MACs", "images/s"]
    rows = [_setting(table, line) for line in table.lines]
    return _table([*columns, "time a run"], rows, numbers, optional={"others", "best epoch"})


def _setting(table: StudyTable, line: Line) -> list[str]:
    paper = words.paper_figure(table, line)
    if line.paper and words.paper_protocol(table.lines) is None:
        paper += f" {_text(line.paper.protocol)}"
    return [
        _text(line.setting),
        str(line.cardinality),
        str(line.base_width),
        words.figure_words(line.last),
        words.seeds_words(line.last, table.num_seeds, line.num_failed),
        paper,
        words.others_figures(line),
        words.figure_words(line.best) if line.best else "-",
        words.counted(line.params),
        words.counted(line.macs),
        "-" if line.images_per_second is None else f"{line.images_per_second:,.0f}",
        "-" if line.seconds is None else duration(line.seconds),
    ]


def _findings(table: StudyTable) -> Iterator[str]:
    columns = ["contrast", "difference, points", "seeds", "of the paper's claim", "in the verdict"]
    rows = [
        [
            _text(finding.name),
            words.change_words(finding.estimate),
            words.seeds_words(finding.estimate, table.num_seeds),
            words.finding_words(finding),
            "yes" if finding.decides else "no",
        ]
        for finding in table.findings
    ]
    yield _table(columns, rows, {"difference, points"})
    yield words.DIFFERENCES + ("" if table.page_p is None else f" {words.trend_words(table.page_p)}")


def _departures(table: StudyTable) -> Iterator[str]:
    if not table.departures:
        yield words.NO_DEPARTURE
        return
    yield f"### {words.DEPARTURES}"
    rows = [[_text(departure.field), _value(departure.paper), _value(departure.ours)] for departure in table.departures]
    yield _table(["field", "paper", "here"], rows)


def _calculated(calculated: Calculated) -> Iterator[str]:
    yield f"## {_text(calculated.title)}"
    yield words.EQUAL if calculated.is_equal else words.UNEQUAL
    columns = [
        "setting",
        *(name for quantity in calculated.quantities for name in (f"{_text(quantity)}, ours", "paper")),
    ]
    rows = [
        [_text(setting), *map(_number, (value for pair in values for value in pair))]
        for setting, values in calculated.rows
    ]
    yield _table(columns, rows, set(columns[1:]))


def _table(
    columns: Sequence[str],
    rows: Sequence[Sequence[str]],
    numbers: Set[str] = frozenset(),
    *,
    optional: Set[str] = frozenset(),
) -> str:
    """Return a table; columns of numbers stand to the right, and optional ones only where they say something."""
    sides = ["--:" if column in numbers else "---" for column in columns]
    kept = [
        place
        for place, column in enumerate(columns)
        if column not in optional or any(row[place] != "-" for row in rows)
    ]
    return "\n".join(f"| {' | '.join(line[place] for place in kept)} |" for line in (columns, sides, *rows))


def _text(text: str) -> str:
    """Return a text in which nothing is markup, on one line."""
    escaped = " ".join(shortened(text).split()).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return _MARKUP.sub(lambda match: f"\\{match[0]}", escaped)


def _value(value: object) -> str:
    return _text(plain(value))


def _number(value: float | None) -> str:
    return "-" if value is None else words.exact(value)


def _code(text: str) -> str:
    """Return a block of code, fenced by more backticks than stand in it."""
    longest = max(map(len, re.findall(r"`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}\n{text}\n{fence}"


def _joined(parts: Sequence[str]) -> str:
    return "\n\n".join(part.strip("\n") for part in parts if part) + "\n"
