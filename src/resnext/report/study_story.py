"""What a study report tells, as values: tables of ours beside the paper's, findings, and curves."""

from dataclasses import dataclass
from typing import Literal

from resnext.evaluation.estimate import Estimate
from resnext.spec.departures import Departure

Verdict = Literal["supports", "contradicts", "inconclusive"]


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishedFigure:
    """A figure as somebody published it; `by` is None for the paper's authors."""

    value: float
    protocol: str
    source: str
    by: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class EpochMean:
    """The means over seeds of the top-1 errors of an epoch, counted from 1, in percent."""

    epoch: int
    train: float
    held_out: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One setting of a study.

    `last` is the figure that is compared, after the last epoch; `best` is the error of the best epoch, None where that
    is not what is compared; both are None where no run has ended. `macs` are of a forward pass of one image, `seconds`
    the mean of a run. `rerun` is a command line.
    """

    setting: str
    cardinality: int
    base_width: int
    params: int
    macs: int
    last: Estimate | None
    best: Estimate | None
    num_failed: int
    paper: PublishedFigure | None
    others: tuple[PublishedFigure, ...]
    images_per_second: float | None
    seconds: float | None
    curve: tuple[EpochMean, ...]
    rerun: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """What runs say of one contrast, in percentage points; the verdict is None where nobody has claimed anything."""

    name: str
    estimate: Estimate | None
    verdict: Verdict | None
    decides: bool
    seeds_needed: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class StudyTable:
    """One study: its question, its lines and what they say together.

    `quantity` says in words what is compared, with its unit, as in "top-1 error, %"; `protocol` says how. `num_seeds`
    are those that were asked for. `verdict` is None where nobody has claimed anything. `page_p` is the p-value of
    Page's test of a monotone trend. `seeds_needed` is how many seeds a verdict would need at the spread there is.
    `departures` are of the first setting, `facts` are names and values to be listed as they are, and `sweep` is what
    the file of a user's own sweep says.
    """

    name: str
    scale: str
    scale_title: str
    title: str
    question: str
    claim: str
    is_proxy: bool
    data: str
    quantity: str
    protocol: str
    num_seeds: int
    lines: tuple[Line, ...]
    findings: tuple[Finding, ...]
    verdict: Verdict | None
    page_p: float | None
    seeds_needed: int | None
    departures: tuple[Departure, ...]
    facts: dict[str, str]
    sweep: str | None = None
    rerun: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Calculated:
    """A table that needs no training: for each setting, what is calculated here beside what is published."""

    title: str
    quantities: tuple[str, ...]
    rows: tuple[tuple[str, tuple[tuple[float, float | None], ...]], ...]

    @property
    def is_equal(self) -> bool:
        """Whether every published value is the calculated one."""
        return all(paper in (None, ours) for _, values in self.rows for ours, paper in values)


@dataclass(frozen=True, slots=True, kw_only=True)
class StudyStory:
    """All that a ledger holds, told."""

    tables: tuple[StudyTable, ...]
    calculated: tuple[Calculated, ...]
    problems: tuple[str, ...] = ()
