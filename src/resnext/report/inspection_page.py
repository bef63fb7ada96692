"""The page of an inspection: what was found in a data set, with the pictures."""

from collections.abc import Container, Iterator, Mapping, Sequence
from itertools import groupby
from operator import itemgetter
from typing import Any

import numpy as np
from markupsafe import Markup

from resnext.report.page import TRAIN, panel, render, svg

MAX_FINDINGS = 12
MAX_PICTURES = 6

Finding = Mapping[str, Any]

_MAX_BINS = 24

# Of each kind, a title and what it means.
_WORDS = {
    "unreadable": ("Files that cannot be read", "Training leaves them out."),
    "empty": ("Empty files", "Training leaves them out."),
    "not_an_image": ("Not images", "Their names say that they are images, their contents do not."),
    "truncated": ("Truncated images", "The end is missing, as after a broken copy; training leaves them out."),
    "corrupt": ("Damaged images", "They cannot be decoded; training leaves them out."),
    "unsupported": ("Images of an unsupported kind", "Training leaves them out."),
    "giant": ("Images above the limit", "More pixels or bytes than are decoded; training leaves them out."),
    "label_conflict": ("One image in several classes", "At most one of the labels is right."),
    "leak": ("One image in several splits", "What is scored was trained on, and the score flatters."),
    "duplicate": ("Duplicates", "Equal in every pixel, in one class and one split."),
    "near_duplicate": ("Near duplicates", "Re-encoded, resized or brightened, in one class and one split."),
    "class_mismatch": (
        "Classes that are not in every split",
        "What is not in all splits is not trained or not scored.",
    ),
    "imbalance": ("Classes out of balance", "The network will favour the larger ones."),
    "small_class": ("Classes of few images", "Take more photographs, or leave the class out."),
    "empty_class": ("Class folders without images", "They are left out."),
    "left_out": ("Left out", "Noted when the data was opened."),
    "tiny": ("Tiny images", "They are enlarged much more than the others, and blurred."),
    "oversized": ("Oversized images", "Decoding them slows training; a smaller copy serves as well."),
    "extreme_aspect": ("Very long or tall images", "The network sees a square from the middle."),
    "animated": ("More than one frame", "Only the first is used."),
    "odd_mode": ("Pixels of another kind", "They are converted to RGB."),
    "rotated": ("Turned by EXIF", "They are turned upright, here and in training."),
    "suffix": ("Named after another format", "They are read as what they are."),
    "ignored": ("Ignored files", "Not taken for images of a class."),
    "compared_in_part": ("Compared only in part", "Each with some of the others only."),
}


def inspection_page(inspection: Mapping[str, Any], pictures: Mapping[str, bytes]) -> str:
    """Return the page of an inspection, as `resnext inspect --json` prints it.

    `pictures` holds JPEG files by the names of images; see `named_images` for which are shown.
    """
    return render(
        "inspection.html.jinja",
        inspection=inspection,
        sections=list(_sections(inspection["findings"], pictures)),
        largest_class=max(sum(one["splits"].values()) for one in inspection["classes"]),
        side_chart=_side_chart(inspection["sizes"]),
        pictures=pictures,
        most_pictures=MAX_PICTURES,
    )


def named_images(inspection: Mapping[str, Any]) -> set[str]:
    """Return the names of the images whose pictures the page shows, where they can be decoded."""
    return {
        image["name"]
        for _, found in _by_kind(inspection["findings"])
        for finding in found[:MAX_FINDINGS]
        for image in finding["images"][:MAX_PICTURES]
    }


def _by_kind(findings: Sequence[Finding]) -> Iterator[tuple[str, list[Finding]]]:
    return ((kind, list(found)) for kind, found in groupby(findings, key=itemgetter("kind")))


def _sections(findings: Sequence[Finding], pictures: Container[str]) -> Iterator[dict[str, Any]]:
    """Yield a section for each kind of findings, with the first of them and how many more there are."""
    for kind, found in _by_kind(findings):
        title, meaning = _WORDS[kind]
        shown = found[:MAX_FINDINGS]
        yield {
            "severity": found[0]["severity"],
            "title": title,
            "meaning": meaning,
            "findings": shown,
            "has_pictures": any(image["name"] in pictures for finding in shown for image in finding["images"]),
            "num_findings": len(found),
            "num_more": max(0, len(found) - MAX_FINDINGS),
        }


def _side_chart(sizes: Sequence[Mapping[str, int]]) -> Markup | None:
    """Draw how many images have which shorter side; None where all have the same, which a sentence says better."""
    sides = np.array([min(size["width"], size["height"]) for size in sizes])
    if len(set(sides.tolist())) < 2:
        return None
    is_wide = sides.max() > 4 * sides.min()
    cut = np.geomspace if is_wide else np.linspace
    edges = cut(sides.min(), sides.max() + 1, min(_MAX_BINS, int(np.ptp(sides)) + 1) + 1).tolist()
    figure, axes = panel("Shorter sides")
    axes.hist(sides, bins=edges, weights=[size["num_images"] for size in sizes], color=TRAIN, rwidth=0.9)
    if is_wide:
        axes.set_xscale("log")
        axes.set_xticks(ticks := [2**power for power in range(15) if sides.min() <= 2**power <= sides.max()])
        axes.set_xticklabels([str(tick) for tick in ticks])
        axes.minorticks_off()
    axes.set_xlabel("pixels")
    return svg(figure)
