"""What runs say of a contrast: a paired t interval over seeds, a verdict, and how many seeds one would need.

Runs of one seed see the same images in the same order, so that a contrast is made within a seed, and its mean over
seeds is judged by Student's t. For settings with an order, Page's test (JASA 58, 1963) asks whether errors fall along
it; it uses ranks alone.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, stdev

from scipy import stats

from resnext.evaluation.estimate import Estimate, estimate, half_width_of
from resnext.report.study_story import Finding, Verdict
from resnext.study.design import Contrast

Figures = Mapping[str, Mapping[int, float]]

SAME_WITHIN = 0.5
_MOST_SEEDS = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgement:
    """What a study says: a verdict over all contrasts that decide, and the p-value of Page's test where it has one."""

    verdict: Verdict
    findings: tuple[Finding, ...]
    page_p: float | None = None

    @property
    def seeds_needed(self) -> int | None:
        """How many seeds all that is undecided would need; None where nothing is, or where that cannot be told."""
        open_ = [finding for finding in self.findings if finding.decides and finding.verdict != "supports"]
        needed = [finding.seeds_needed for finding in open_]
        return max((seeds for seeds in needed if seeds), default=None) if all(needed) else None


def judge(contrasts: Sequence[Contrast], order: Sequence[str], figures: Figures) -> Judgement:
    """Judge contrasts by figures, in percent, of settings by name and seed.

    All that decide must support the paper for the verdict to; one that contradicts is enough.
    """
    findings = tuple(_finding(contrast, figures) for contrast in contrasts)
    said = [finding.verdict for finding in findings if finding.decides and finding.verdict]
    verdict: Verdict = "inconclusive"
    if "contradicts" in said:
        verdict = "contradicts"
    elif said and all(one == "supports" for one in said):
        verdict = "supports"
    return Judgement(verdict=verdict, findings=findings, page_p=_page_p(order, figures))


def _finding(contrast: Contrast, figures: Figures) -> Finding:
    values = [
        sum(weight * figures[name][seed] for name, weight in contrast.weights.items())
        for seed in _complete_seeds(list(contrast.weights), figures)
    ]
    found = estimate(values) if values else None
    verdict = _verdict(contrast, found)
    return Finding(
        name=contrast.name,
        estimate=found,
        verdict=verdict,
        decides=contrast.decides,
        seeds_needed=_seeds_needed(contrast, values) if verdict == "inconclusive" else None,
    )


def _verdict(contrast: Contrast, found: Estimate | None) -> Verdict | None:
    if contrast.expects is None:
        return None
    if found is None:
        return "inconclusive"
    half_width = found.half_width
    if half_width is None and found.num_values > 1 and contrast.expects == "same":
        half_width = 0.0  # equal to the last digit is as much the same as can be
    if half_width is None:
        return "inconclusive"
    low, high = found.mean - half_width, found.mean + half_width
    if contrast.expects == "same":
        is_same, is_other = max(-low, high) < SAME_WITHIN, max(low, -high) > SAME_WITHIN
        return "supports" if is_same else "contradicts" if is_other else "inconclusive"
    return "supports" if high < 0 else "contradicts" if low > 0 else "inconclusive"


def _seeds_needed(contrast: Contrast, values: Sequence[float]) -> int | None:
    """Return the least number of seeds whose interval would leave the limit out, at the mean and spread there are."""
    if len(values) < 2 or (spread := stdev(values)) == 0:
        return None
    mean = fmean(values)
    distance = abs(abs(mean) - SAME_WITHIN) if contrast.expects == "same" else abs(mean)
    enough = (seeds for seeds in range(len(values) + 1, _MOST_SEEDS + 1) if half_width_of(spread, seeds) < distance)
    return next(enough, None)


def _page_p(order: Sequence[str], figures: Figures) -> float | None:
    """Return the p-value of errors that do not fall along the order; None without two seeds of all, three or more."""
    seeds = _complete_seeds(order, figures)
    if len(order) < 3 or len(seeds) < 2:
        return None
    rising = [[figures[name][seed] for name in reversed(order)] for seed in seeds]
    return float(stats.page_trend_test(rising).pvalue)


def _complete_seeds(names: Sequence[str], figures: Figures) -> list[int]:
    """Return the seeds of which every setting has a figure."""
    held = [set(figures.get(name, {})) for name in names]
    return sorted(set.intersection(*held)) if held else []
