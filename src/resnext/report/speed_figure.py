"""How fast contestants are, drawn as bars, for a file of its own."""

from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO

from matplotlib import rc_context
from matplotlib.figure import Figure

_OURS, _PEER, _SOFT = "#1f6f8b", "#b9b4ab", "#555555"
_WIDTH_INCHES, _BAR_INCHES, _MARGIN_INCHES = 7.5, 0.27, 0.9
_DOTS_PER_INCH = 150
_ROOM_FOR_NUMBERS = 1.12


@dataclass(frozen=True, slots=True, kw_only=True)
class Bar:
    """A contestant: milliseconds an image in the median, and what 95 % of its calls stay below."""

    name: str
    latency_ms_p50: float
    latency_ms_p95: float
    is_ours: bool


def speed_figure(title: str, bars: Sequence[Bar]) -> Figure:
    """Draw a bar for each contestant, the first on top: its median, and a line to its 95th percentile."""
    figure = Figure(figsize=(_WIDTH_INCHES, _MARGIN_INCHES + _BAR_INCHES * len(bars)), layout="constrained")
    axes = figure.add_subplot()
    medians = [bar.latency_ms_p50 for bar in bars]
    tails = [max(0.0, bar.latency_ms_p95 - bar.latency_ms_p50) for bar in bars]
    drawn = axes.barh(
        range(len(bars)),
        medians,
        height=0.7,
        color=[_OURS if bar.is_ours else _PEER for bar in bars],
        xerr=[[0.0] * len(bars), tails],
        error_kw={"ecolor": _SOFT, "elinewidth": 1},
    )
    axes.bar_label(drawn, [f"{value:.3g}" for value in medians], padding=4, color=_SOFT, size=8)
    axes.set_yticks(range(len(bars)), [bar.name for bar in bars], parse_math=False)
    axes.invert_yaxis()
    axes.set_xlim(0, _ROOM_FOR_NUMBERS * max(bar.latency_ms_p95 for bar in bars))
    axes.set_xlabel("milliseconds an image: the median, and a line to what 95 % of calls stay below", size=8.5)
    axes.tick_params(labelsize=8.5, length=0)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.set_title(title, loc="left", size=10, parse_math=False)
    return figure


def picture(figure: Figure, suffix: str) -> bytes:
    """Return a figure as the bytes of a file: `.png` or `.svg`; the same figure always gives the same."""
    stream = BytesIO()
    with rc_context({"svg.hashsalt": "resnext", "svg.fonttype": "none"}):
        metadata = {"Date": None} if suffix.lower() == ".svg" else {}
        figure.savefig(stream, format=suffix.lower().removeprefix("."), dpi=_DOTS_PER_INCH, metadata=metadata)
    return stream.getvalue()
