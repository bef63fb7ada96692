"""What study reports say in words, the same on the page, in Markdown and in the README."""

from collections.abc import Mapping
from dataclasses import dataclass

from resnext.evaluation.estimate import Estimate
from resnext.report.study_story import Finding, Line, PublishedFigure, StudyTable, Verdict

BEGIN = "resnext study run table3 --scale digits"
EMPTY = "The ledger holds nothing yet. Begin with a study that takes minutes:"
PROXY = "Other networks, images or lengths than the paper's: it tests the paper's trend, not its figures."
NOT_COMPARABLE = "The paper's figures and those of others are of other networks and images: compare their order only."
INTERVALS = "The figure after \u00b1 is half the 95 % interval over seeds (Student's t)."
BEST = "The best epoch is chosen by the images that score it, so that its error flatters."
DIFFERENCES = "Differences are paired by seed, in percentage points; below zero the first setting errs less."
NO_CLAIM = "Nobody has claimed anything that these runs could contradict."
DEPARTURES = "Where the recipe departs from the paper's"
NO_DEPARTURE = "The recipe of the first setting is the paper's in every field that is compared."
EQUAL = "Calculated, without training; every published value is the calculated one."
UNEQUAL = "Calculated, without training; not every published value is the calculated one."

_CHOSEN: Mapping[Verdict | None, str] = {
    "supports": "Every contrast that decides comes out as the paper says, and so does all of its interval.",
    "contradicts": "A contrast that decides comes out otherwise than the paper says, and so does all of its interval.",
    None: NO_CLAIM,
}
_UNITS = ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Overview:
    """A study in a row: `key` is its most telling finding, `seeds` are those behind it."""

    title: str
    question: str
    scale: str
    seeds: str
    verdict: str
    key: str


def overview(table: StudyTable) -> Overview:
    """Return a study in a row."""
    told = [finding for finding in table.findings if finding.estimate]
    key = next((finding for finding in told if finding.decides), told[0] if told else None)
    return Overview(
        title=table.title,
        question=table.question,
        scale=f"{table.scale} (proxy)" if table.is_proxy else table.scale,
        seeds=_out_of(key.estimate.num_values if key and key.estimate else 0, table.num_seeds),
        verdict=verdict_words(table) + _seeds_needed(table.verdict, table.seeds_needed),
        key=f"{key.name}: {change_words(key.estimate)} points" if key else "-",
    )


def verdict_words(table: StudyTable) -> str:
    """Say what a study says of the paper, or of its trend alone where it is a proxy."""
    if table.verdict is None:
        return "no verdict"
    if table.verdict == "inconclusive":
        return table.verdict
    return f"{table.verdict} the paper's trend" if table.is_proxy else f"{table.verdict} the paper"


def verdict_reason(table: StudyTable) -> str:
    """Say in a sentence why the verdict is what it is, and what another would take."""
    if table.verdict != "inconclusive":
        return _CHOSEN[table.verdict]
    if table.seeds_needed:
        return f"With mean and spread as they are, about {table.seeds_needed:,} seeds would decide."
    estimates = [finding.estimate for finding in table.findings if finding.decides]
    if any(estimate is None for estimate in estimates):
        return "A contrast that decides has no result yet, so that nobody can tell how many seeds would decide."
    if any(estimate.num_values < 2 for estimate in estimates if estimate):
        return "One seed has no spread: two tell how many would decide."
    return "How many seeds would decide cannot be told from this spread, or is more than a thousand."


def finding_words(finding: Finding) -> str:
    """Say what a finding says of what the paper claims."""
    if finding.verdict is None:
        return "nobody has claimed anything"
    return finding.verdict + _seeds_needed(finding.verdict, finding.seeds_needed)


def figure_words(estimate: Estimate | None) -> str:
    """Write a figure with its interval, where it has one."""
    return "no result yet" if estimate is None else f"{estimate.mean:.2f}{_half_width(estimate)}"


def change_words(estimate: Estimate | None) -> str:
    """Write a difference with its sign and its interval, where it has one."""
    if estimate is None:
        return "no result yet"
    return f"{estimate.mean:+.2f}".replace("-", "\u2212") + _half_width(estimate)


def seeds_words(estimate: Estimate | None, asked: int | None = None, num_failed: int = 0) -> str:
    """Say how many seeds a figure is of, how many failed, and why it has no interval."""
    done = estimate.num_values if estimate else 0
    words = [_out_of(done, asked)]
    if estimate and estimate.half_width is None:
        words.append("no interval" if done == 1 else "all alike, no interval")
    if num_failed:
        words.append(f"{num_failed} failed")
    return ", ".join(words)


def published_words(published: PublishedFigure) -> str:
    """Say who published a figure, where, and by which protocol."""
    return f"{published.by or 'the paper'}, {published.source}: {published.protocol}"


def others_figures(line: Line) -> str:
    """Write the figures that others published of a setting; who they are is among the notes of the table."""
    return ", ".join(f"{other.value}" for other in line.others) or "-"


def paper_protocol(lines: tuple[Line, ...]) -> str | None:
    """Return the protocol of the paper's figures where all have the same, else None."""
    protocols = {line.paper.protocol for line in lines if line.paper}
    return protocols.pop() if len(protocols) == 1 else None


def paper_figure(table: StudyTable, line: Line) -> str:
    """Write the paper's figure of a setting, with as many digits as any in the table."""
    digits = max((len(str(other.paper.value).partition(".")[2]) for other in table.lines if other.paper), default=0)
    return f"{line.paper.value:.{digits}f}" if line.paper else "-"


def table_notes(table: StudyTable) -> tuple[str, ...]:
    """Return the sentences that belong under the table of a study's settings."""
    protocol = paper_protocol(table.lines)
    notes = {
        INTERVALS: any(line.last and line.last.half_width for line in table.lines),
        BEST: any(line.best for line in table.lines),
        f"The paper's figures: {protocol}.": protocol is not None,
        NOT_COMPARABLE: table.is_proxy and any(line.paper or line.others for line in table.lines),
    }
    others = [
        f"{line.setting}, {other.value}: {published_words(other)}." for line in table.lines for other in line.others
    ]
    return (*(note for note, is_needed in notes.items() if is_needed), *others)


def trend_words(page_p: float) -> str:
    """Say what Page's test says."""
    value = "p < 0.001" if page_p < 0.001 else f"p = {page_p:.3f}"
    return f"Page's test of errors that fall along the settings: {value}."


def counted(number: float) -> str:
    """Write a large number with four digits and a letter for its thousands."""
    for unit, letter in _UNITS:
        if number >= unit:
            scaled = number / unit
            return f"{scaled:.{3 if scaled < 10 else 2 if scaled < 100 else 1}f} {letter}"
    return f"{number:g}"


def capital(words: str) -> str:
    """Begin with a capital."""
    return words[:1].upper() + words[1:]


def exact(number: float) -> str:
    """Write a number with all its digits."""
    return f"{number:,.12g}"


def _seeds_needed(verdict: Verdict | None, number: int | None) -> str:
    return f"; about {number:,} seeds would decide" if number and verdict == "inconclusive" else ""


def _half_width(estimate: Estimate) -> str:
    return "" if estimate.half_width is None else f" \u00b1 {estimate.half_width:.2f}"


def _out_of(done: int, asked: int | None) -> str:
    return str(done) if asked in (None, done) else f"{done} of {asked}"
