"""Self-contained HTML pages: templates filled with values, and figures drawn into them."""

import re
import warnings
from io import StringIO
from typing import Any

import matplotlib
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from matplotlib.figure import Figure

# Colours that a figure is drawn in, and what the page replaces them by, so that it is legible by day and by night.
INK, ACCENT = "#010203", "#040506"
_COLOURS = {INK: "currentColor", ACCENT: "var(--accent)"}

_PAGES = Environment(
    loader=PackageLoader("resnext.report"),
    autoescape=True,
    trim_blocks=True,
    lstrip_blocks=True,
    undefined=StrictUndefined,
)


def render(template: str, **values: Any) -> str:
    """Return a template filled with values; every string among them is escaped."""
    return _PAGES.get_template(template).render(values)


def svg(figure: Figure) -> Markup:
    """Return a figure as an SVG element that takes the width, the font and the colours of the page around it."""
    buffer = StringIO()
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": "resnext"}), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of letters that matplotlib's font lacks; the page's has them
        figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None})
    drawing = buffer.getvalue()
    drawing = drawing[drawing.index("<svg") :]
    drawing = re.sub(r"<metadata>.*?</metadata>", "", drawing, flags=re.DOTALL)
    drawing = re.sub(r"<svg [^>]*?(viewBox=\"[^\"]*\")[^>]*>", r"<svg \1>", drawing)
    for drawn, shown in _COLOURS.items():
        drawing = drawing.replace(drawn, shown)
    return Markup(drawing)  # matplotlib has escaped what it drew
