import re
from html.parser import HTMLParser
from typing import Any

import pytest

from resnext.data.findings import SEVERITIES
from resnext.report.inspection_page import MAX_FINDINGS, MAX_PICTURES, inspection_page, named_images

ODD = "a \"quoted\" & <script>alert('x')</script> näme.jpg"


def image(name: str, split: str = "train") -> dict[str, str]:
    return {"name": name, "split": split, "class_name": "<u>cats</u>"}


def finding(kind: str, *names: str) -> dict[str, Any]:
    severity = {str(known): severity for known, severity in SEVERITIES.items()}[kind]
    return {"kind": kind, "severity": severity, "sentence": f"{kind}!", "images": [image(name) for name in names]}


def facts(*findings: dict[str, Any], sizes: tuple[tuple[int, int], ...] = ((500, 375), (80, 60))) -> dict[str, Any]:
    return {
        "source": "photos & <u>more</u>",
        "num_images": 3,
        "num_errors": 1,
        "num_warnings": 0,
        "num_notes": 0,
        "splits": {"train": 2, "val": 1},
        "formats": {"JPEG": 3},
        "classes": [{"name": "<u>cats</u>", "splits": {"train": 2, "val": 1}}],
        "sizes": [{"width": width, "height": height, "num_images": 2} for width, height in sizes],
        "findings": list(findings),
        "quarantine": [],
    }


class Page(HTMLParser):
    """What a page is made of: elements and attributes."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[str] = []
        self.attributes: list[tuple[str, str]] = []
        self.words = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append(tag)
        self.attributes += [(name, value or "") for name, value in attrs]

    def handle_data(self, data: str) -> None:
        self.words += data


def test_the_page_asks_for_nothing_outside() -> None:
    text = inspection_page(facts(finding("leak", ODD, "b.jpg")), {ODD: b"jpeg", "b.jpg": b"jpeg"})
    assert "http" not in text and "@import" not in text and "url(#" in text
    outside = [value for name, value in Page(text).attributes if name in ("src", "href", "xlink:href", "srcset")]
    assert len(outside) > 2
    assert all(value.startswith(("data:image/jpeg;base64,", "#")) for value in outside)
    assert not set(re.findall(r"url\(([^#])", text))


def test_names_are_text_whatever_is_in_them() -> None:
    page = Page(inspection_page(facts(finding("leak", ODD), finding("empty", ODD)), {ODD: b"jpeg"}))
    assert not {"script", "u"} & set(page.elements)
    assert page.words.count(ODD) == 2
    assert "photos & <u>more</u>" in page.words and "<u>cats</u>" in page.words


def test_pictures_are_shown_side_by_side_and_names_where_there_are_none() -> None:
    page = Page(
        inspection_page(facts(finding("duplicate", "a.jpg", "b.jpg"), finding("empty", "c.jpg")), {"a.jpg": b""})
    )
    assert page.elements.count("figcaption") == 3 and page.elements.count("img") == 1  # one is of the sizes
    assert all(name in page.words for name in ("a.jpg", "b.jpg", "c.jpg"))


@pytest.mark.parametrize("kind", SEVERITIES)
def test_every_kind_has_its_words(kind: str) -> None:
    page = Page(inspection_page(facts(finding(kind, "a.jpg")), {}))
    assert f"{kind}!" in page.words


def test_what_is_too_much_is_counted() -> None:
    many = [finding("near_duplicate", *(f"{number}-{copy}.jpg" for copy in range(9))) for number in range(20)]
    given = facts(*many)
    assert len(named_images(given)) == MAX_FINDINGS * MAX_PICTURES
    words = Page(inspection_page(given, dict.fromkeys(named_images(given), b""))).words
    assert "and 8 more of this kind" in words and "and 3 more images" in words
    assert "13-0.jpg" not in words


def test_a_healthy_set_is_said_to_be_so() -> None:
    words = Page(inspection_page(facts(sizes=((60, 60),)), {})).words
    assert "Nothing is wrong with these images" in words
    assert "All images have a shorter side of 60 pixels" in words


@pytest.mark.parametrize("sizes", [(), ((1, 1), (2, 2)), ((1, 9_000), (9_000, 9_000)), ((100, 99), (100, 101))])
def test_sizes_of_any_range_are_drawn(sizes: tuple[tuple[int, int], ...]) -> None:
    page = Page(inspection_page(facts(sizes=sizes), {}))
    assert ("svg" in page.elements) == (len(sizes) > 1)
