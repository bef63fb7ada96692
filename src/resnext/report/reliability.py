"""Reliability diagrams: what probabilities said, against how often they were right (arXiv 1706.04599, figure 1)."""

from matplotlib.figure import Figure

from resnext.report.page import HELD_OUT, INK, SOFT, panel
from resnext.report.story import Reliability

_PERCENT = 100


def reliability_diagram(reliability: Reliability, title: str) -> Figure:
    """Draw the accuracy of each bin as a bar, its mean probability as a tick: bars end at the ticks where all is well.

    A bar is the fainter the fewer images it stands for.
    """
    figure, axes = panel(title)
    most = max((part.num_images for part in reliability.bins), default=1)
    for part in reliability.bins:
        if part.accuracy is None or part.mean_confidence is None:
            continue
        low, width = _PERCENT * part.low, _PERCENT * (part.high - part.low)
        strength = 0.25 + 0.75 * part.num_images / most
        axes.bar(low, _PERCENT * part.accuracy, width, align="edge", color=HELD_OUT, alpha=strength, edgecolor="none")
        level = _PERCENT * part.mean_confidence
        axes.plot([low, low + width], [level, level], color=INK, linewidth=2, solid_capstyle="butt")
    axes.plot([0, _PERCENT], [0, _PERCENT], color=SOFT, linewidth=0.8, linestyle=(0, (2, 2)))
    axes.set(xlim=(0, _PERCENT), ylim=(0, _PERCENT), xlabel="probability of the answer, %", ylabel="right, %")
    return figure
