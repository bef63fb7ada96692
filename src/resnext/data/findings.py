"""What may be wrong with images: kinds of findings, how grave each is, and the rules that hold for single images."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import PurePath
from statistics import median
from typing import Literal

from resnext.data.look import Damage, Look, Seen
from resnext.imaging.decode import Fault
from resnext.imaging.probe import Header

Severity = Literal["error", "warning", "note"]
Kind = Literal[
    Fault,
    "label_conflict",
    "leak",
    "duplicate",
    "near_duplicate",
    "class_mismatch",
    "imbalance",
    "small_class",
    "empty_class",
    "left_out",
    "tiny",
    "oversized",
    "extreme_aspect",
    "animated",
    "odd_mode",
    "rotated",
    "suffix",
    "ignored",
    "compared_in_part",
]

# In the order in which they are shown.
SEVERITIES: dict[Kind, Severity] = {
    "unreadable": "error",
    "empty": "error",
    "not_an_image": "error",
    "truncated": "error",
    "corrupt": "error",
    "unsupported": "error",
    "giant": "error",
    "label_conflict": "error",
    "leak": "error",
    "duplicate": "warning",
    "near_duplicate": "warning",
    "class_mismatch": "warning",
    "imbalance": "warning",
    "small_class": "warning",
    "empty_class": "warning",
    "left_out": "warning",
    "tiny": "warning",
    "oversized": "warning",
    "extreme_aspect": "warning",
    "animated": "note",
    "odd_mode": "note",
    "rotated": "note",
    "suffix": "note",
    "ignored": "note",
    "compared_in_part": "note",
}

MIN_SIDE = 32
MAX_ASPECT = 4

_OVERSIZED = 16
_MODES = {
    "1": "black and white",
    "CMYK": "CMYK",
    "LAB": "CIELAB colours",
    "P": "a palette",
    "PA": "a palette",
    "YCbCr": "YCbCr",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """An image that a finding is about."""

    name: str
    split: str
    class_name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """Something that may be wrong: its kind, a sentence, and the images it is about, none where it is a class."""

    kind: Kind
    sentence: str
    images: tuple[Shown, ...] = ()

    @property
    def severity(self) -> Severity:
        """How grave it is: an error leaves images out or falsifies scores, a note is good to know."""
        return SEVERITIES[self.kind]


def shown(look: Look) -> Shown:
    """Return what a finding says of an image."""
    return Shown(name=look.name, split=look.split, class_name=look.class_name)


def of_single_images(looks: Sequence[Look]) -> Iterator[Finding]:
    """Yield what is remarkable about single images, each against all the others."""
    seen = [look.result for look in looks if isinstance(look.result, Seen)]
    usual_side = median(image.shorter_side for image in seen) if seen else 0
    usual_pixels = median(image.num_pixels for image in seen) if seen else 0
    headers = [look.header for look in looks if look.header]
    is_colourful = 2 * sum(_is_grey(header) for header in headers) < len(headers)
    for look in looks:
        if isinstance(look.result, Damage):
            yield _about(look, look.result.fault, look.result.reason)
            continue
        if look.header:
            yield from _of_header(look, look.header, is_colourful=is_colourful)
            yield from _of_size(look, look.result, usual_side, usual_pixels)


def _about(look: Look, kind: Kind, sentence: str) -> Finding:
    return Finding(kind=kind, sentence=sentence, images=(shown(look),))


def _of_header(look: Look, header: Header, *, is_colourful: bool) -> Iterator[Finding]:
    suffix = PurePath(look.name).suffix
    if suffix and not header.fits(suffix):
        yield _about(look, "suffix", f"named {suffix}, but the content is {header.format}; it is read as what it is")
    if header.is_animated:
        yield _about(look, "animated", "more than one frame; only the first is used")
    if header.is_turned:
        yield _about(look, "rotated", f"EXIF orientation {header.orientation}; it is turned upright")
    if mode := _odd_mode(header, is_colourful=is_colourful):
        yield _about(look, "odd_mode", mode)


def _odd_mode(header: Header, *, is_colourful: bool) -> str:
    if header.has_alpha:
        return "transparency; it is laid on white"
    if header.mode in _MODES:
        return f"stored as {_MODES[header.mode]}; it is converted to RGB"
    if header.mode.startswith("I"):
        return "16 bits a pixel; they are scaled to 8"
    return "grey among colour images" if _is_grey(header) and is_colourful else ""


def _is_grey(header: Header) -> bool:
    return header.mode == "L"


def _of_size(look: Look, image: Seen, usual_side: float, usual_pixels: float) -> Iterator[Finding]:
    size = f"{image.width}x{image.height}"
    if image.shorter_side < min(MIN_SIDE, usual_side):
        yield _about(look, "tiny", f"{size} pixels, where half the images have a side of {usual_side:.0f} or more")
    if image.num_pixels > _OVERSIZED * usual_pixels:
        times = image.num_pixels / usual_pixels
        yield _about(look, "oversized", f"{size} pixels, {times:.0f} times as many as usual; slow to decode")
    aspect = max(image.width, image.height) / image.shorter_side
    if aspect > MAX_ASPECT:
        yield _about(look, "extreme_aspect", f"{size} pixels, {aspect:.1f} to 1; a central crop shows little of it")
