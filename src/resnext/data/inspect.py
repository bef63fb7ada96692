"""`inspect`: what is wrong with the images of a data set, found by decoding each of them once."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, get_args

from resnext.data import examine
from resnext.data.compared import Collection, Compared
from resnext.data.copies import compared_in_part, copies
from resnext.data.dataset import Data, DataError
from resnext.data.findings import SEVERITIES, Finding, Kind, Severity, of_single_images
from resnext.data.look import Damage, Look, Looked, Seen, look_at
from resnext.data.open import open_data
from resnext.data.quarantine import Quarantined
from resnext.data.relations import families, of_classes, of_copies, of_crowds, of_opening, to_quarantine
from resnext.data.stream import Stream

_SPLITS = ("train", "val", "test")


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassCount:
    """How many images a class has in each split, those included that cannot be decoded."""

    name: str
    splits: dict[str, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class SizeCount:
    """How many decoded images have a size, in pixels, upright."""

    width: int
    height: int
    num_images: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Inspection:
    """What was found in a data set: counts, findings in order of their kinds, and what is better left out."""

    source: str
    splits: dict[str, int]
    classes: tuple[ClassCount, ...]
    formats: dict[str, int]
    sizes: tuple[SizeCount, ...]
    findings: tuple[Finding, ...]
    quarantine: tuple[Quarantined, ...]

    @property
    def num_images(self) -> int:
        """The number of images that were looked at."""
        return sum(self.splits.values())

    def of_kind(self, kind: Kind) -> tuple[Finding, ...]:
        """Return the findings of a kind."""
        return tuple(finding for finding in self.findings if finding.kind == kind)

    def kinds(self) -> list[Kind]:
        """Return the kinds that were found, the gravest first."""
        found = {finding.kind for finding in self.findings}
        return [kind for kind in SEVERITIES if kind in found]

    def num_findings(self, severity: Severity) -> int:
        """Return how many findings have a severity."""
        return sum(finding.severity == severity for finding in self.findings)

    def as_json(self) -> dict[str, Any]:
        """Return everything as plain values."""
        return {
            "source": self.source,
            "num_images": self.num_images,
            **{f"num_{severity}s": self.num_findings(severity) for severity in get_args(Severity)},
            "splits": self.splits,
            "formats": self.formats,
            "classes": [asdict(count) for count in self.classes],
            "sizes": [asdict(count) for count in self.sizes],
            "findings": [{"severity": finding.severity, **asdict(finding)} for finding in self.findings],
            "quarantine": [asdict(image) for image in self.quarantine],
        }


def inspect(source: str, *, download: bool = False, num_threads: int | None = None) -> Inspection:
    """Look at every image of a data set, named as for `open_data`, and say what is wrong.

    Of sources that keep no encoded images, `digits` and CIFAR, only copies, leaks and classes are looked into.
    Raises `DataError` where the data cannot be opened, and `OSError` where a shard of a stream cannot be read.
    """
    data = open_data(source, download=download, examines=False)
    return conclude(source, data, look_at(data, num_threads))


def conclude(source: str, data: Data, looks: Iterable[Looked]) -> Inspection:
    """Return what looks at every image of a data set, opened without examining it, come to.

    Of each about a kilobyte is kept.
    """
    kept, images = list[Look](), Collection()
    for look, mark in looks:
        kept.append(look)
        if mark and isinstance(look.result, Seen):
            images.add(mark, look.result.width, look.result.height)
    return _inspection(data, divided(source, data, kept), Compared.of(images))


def divided(source: str, data: Data, looks: Sequence[Look]) -> Sequence[Look]:
    """Return looks under the splits that training sees: it leaves damaged images out before it divides the data.

    Splits that came with the data stay as they are, and so do those of streams and large sets, whose images training
    does not decode before it divides them.
    """
    damaged = frozenset(look.name for look in looks if isinstance(look.result, Damage))
    is_examined = len(looks) <= examine.MAX_EXAMINED and not isinstance(data.splits["train"], Stream)
    if not damaged or data.has_own_splits or not is_examined:
        return looks
    try:
        data = open_data(source, examines=False, quarantine=damaged)
    except DataError:  # without them there is too little to train on, and findings say why
        return looks
    split_of = {
        data.indexed(split).name(index): split
        for split in data.splits
        for index in range(len(data.splits[split].labels))
    }
    return [replace(look, split=split_of.get(look.name, look.split)) for look in looks]


def _inspection(data: Data, looks: Sequence[Look], images: Compared) -> Inspection:
    seen = [look for look in looks if isinstance(look.result, Seen)]
    groups = copies(images)
    related = families(seen, images, groups)
    splits = sorted(data.splits, key=_SPLITS.index)
    usable = {split: Counter(look.class_name for look in seen if look.split == split) for split in splits}
    findings = [
        *of_single_images(looks),
        *of_copies(related),
        *of_crowds([seen[index] for index in compared_in_part(images, groups)]),
        *of_classes(data.class_names, usable),
        *of_opening(data.problems),
    ]
    order = {kind: place for place, kind in enumerate(SEVERITIES)}
    sizes = Counter((look.result.width, look.result.height) for look in looks if isinstance(look.result, Seen))
    return Inspection(
        source=data.source,
        splits={split: sum(look.split == split for look in looks) for split in splits},
        classes=_class_counts(data.class_names, splits, looks),
        formats=dict(Counter(look.header.format for look in looks if look.header).most_common()),
        sizes=tuple(SizeCount(width=w, height=h, num_images=number) for (w, h), number in sorted(sizes.items())),
        findings=tuple(sorted(findings, key=lambda finding: order[finding.kind])),
        quarantine=tuple(to_quarantine(findings, related)),
    )


def _class_counts(class_names: Sequence[str], splits: Sequence[str], looks: Sequence[Look]) -> tuple[ClassCount, ...]:
    counts = Counter((look.class_name, look.split) for look in looks)
    return tuple(ClassCount(name=name, splits={split: counts[name, split] for split in splits}) for name in class_names)
