"""Pages that need nothing but themselves: templates filled in, figures as SVG that follows the page's colours."""

import hashlib
import re
from base64 import b64encode
from collections.abc import Mapping
from functools import cache
from io import StringIO
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from resnext.report.words import duration, percent

# Drawn in these, and shown in the variables of the stylesheet, so that one drawing serves light and dark.
INK, SOFT, LINE, PAPER = "#010101", "#020202", "#030303", "#040404"
TRAIN, HELD_OUT, GOOD = "#050505", "#060606", "#070707"
FIRST, SECOND = "#080808", "#090909"

_VARIABLES = {
    INK: "ink",
    SOFT: "soft",
    LINE: "line",
    PAPER: "paper",
    TRAIN: "train",
    HELD_OUT: "held-out",
    GOOD: "good",
    FIRST: "first",
    SECOND: "second",
}
_FIGURE_INCHES = (5.2, 2.7)
FONT_POINTS = 9.5
_LONGEST_TEXT = 300
# Without these matplotlib would write the addresses of vocabularies into every figure.
_NO_METADATA = dict.fromkeys(("Creator", "Date", "Format", "Type"))


def render(template: str, **values: Any) -> str:
    """Fill in a template of this package; text in the values is escaped."""
    return _environment().get_template(template).render(**values)


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "duration": duration,
        "jpeg": _jpeg,
        "percent": percent,
        "plain": plain,
        "shortened": shortened,
        "thousands": "{:,}".format,
    }
    return environment


def variable(colour: str) -> str:
    """Return the name in the stylesheet of a colour of figures."""
    return _VARIABLES[colour]


def panel(title: str, height: float = _FIGURE_INCHES[1]) -> tuple[Figure, Axes]:
    """Return an empty figure of one pair of axes in the style of the pages; `height` is in inches."""
    figure = Figure(figsize=(_FIGURE_INCHES[0], height), layout="constrained")
    figure.set_label(title)
    axes = figure.add_subplot()
    axes.patch.set_visible(False)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(LINE)
    axes.tick_params(colors=SOFT, labelcolor=SOFT, labelsize=FONT_POINTS, length=3)
    axes.grid(axis="y", color=LINE, linewidth=0.6)
    axes.set_axisbelow(True)
    axes.xaxis.label.set(color=SOFT, size=FONT_POINTS)
    axes.yaxis.label.set(color=SOFT, size=FONT_POINTS)
    return figure, axes


def svg(figure: Figure) -> Markup:
    """Return a figure as an SVG element, its label as its name; the same figure always gives the same text.

    Words stay words, colours are the page's, and no name in it clashes with one of another figure.
    """
    with rc_context({"svg.fonttype": "none", "svg.hashsalt": "resnext"}):
        stream = StringIO()
        figure.savefig(stream, format="svg", transparent=True, metadata=_NO_METADATA)
    drawn = stream.getvalue()
    text = drawn[drawn.index("<svg") :]
    text = re.sub(r' xmlns(:\w+)?="[^"]*"', "", text).replace("xlink:href", "href")
    text = re.sub(r'<svg[^>]*?(viewBox="[^"]*")[^>]*>', lambda match: _opening(figure, match[1]), text, count=1)
    text = re.sub("|".join(_VARIABLES), lambda match: f"var(--{_VARIABLES[match[0]]})", text)
    return Markup(_named_apart(text))


def _opening(figure: Figure, view_box: str) -> str:
    return str(Markup('<svg role="img" aria-label="{}" {}>').format(figure.get_label(), Markup(view_box)))


def _named_apart(text: str) -> str:
    """Drop the names in an SVG that nothing refers to, and put a digest before the others."""
    digest = hashlib.sha256(text.encode()).hexdigest()[:8]
    used = set(re.findall(r'(?:url\(#|href="#)([^")]+)', text))
    text = re.sub(r' id="([^"]+)"', lambda match: f' id="f{digest}-{match[1]}"' if match[1] in used else "", text)
    return re.sub(r'(url\(#|href="#)', rf"\g<1>f{digest}-", text)


def plain(value: Any) -> str:
    """Write a value of a recipe in the words of TOML, without its brackets and quotes."""
    if isinstance(value, Mapping):
        return ", ".join(f"{key} = {plain(item)}" for key, item in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(map(plain, value)) or "none"
    if isinstance(value, bool):
        return str(value).lower()
    return "none" if value is None else str(value)


def shortened(text: str) -> str:
    """Return a text, its middle left out where it is too long for a page."""
    half = _LONGEST_TEXT // 2
    return text if len(text) <= _LONGEST_TEXT else f"{text[:half]} … {text[-half:]}"


def _jpeg(content: bytes) -> str:
    return f"data:image/jpeg;base64,{b64encode(content).decode()}"
