"""What may be wrong between images: copies, leaks from split to split, labels at odds, classes out of balance."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from resnext.data.compared import Compared
from resnext.data.copies import Group, kept_and_copies
from resnext.data.examine import NOT_TRAINED
from resnext.data.findings import Finding, Kind, shown
from resnext.data.listing import EMPTY_CLASS, IGNORED
from resnext.data.look import Look, Seen
from resnext.data.quarantine import Quarantined

_MAX_RATIO = 10
_MIN_IMAGES = 10
_MOST_LISTED = 10

_KEPT_FIRST = ("test", "val", "train")


@dataclass(frozen=True, slots=True, kw_only=True)
class Family:
    """Images that are copies of each other, or in a chain, each of some other; `is_exact` where in every pixel.

    `stars` divides them: of each the first image is to be kept, and the others are copies of it.
    """

    looks: tuple[Look, ...]
    stars: tuple[tuple[Look, ...], ...]
    is_exact: bool

    @property
    def words(self) -> str:
        """What they are, in words."""
        if len(self.stars) > 1:
            return f"a chain of {len(self.looks)} near copies, not all alike"
        how = "equal in every pixel" if self.is_exact else "re-encoded or resized"
        return f"{len(self.looks)} copies of one image, {how}"


def families(looks: Sequence[Look], images: Compared, groups: Iterable[Group]) -> list[Family]:
    """Return groups of copies among decoded images, of each a look and what is compared, and divide them.

    What is kept stands in the split that must be cleanest, test before validation before training, and is the largest
    there.
    """

    def stars(indices: Sequence[int]) -> Iterator[tuple[Look, ...]]:
        for star in kept_and_copies(images, sorted(indices, key=lambda index: _rank(looks[index]))):
            yield tuple(looks[index] for index in star)

    return [
        Family(
            looks=tuple(looks[index] for index in group.indices),
            stars=tuple(stars(group.indices)),
            is_exact=group.is_exact,
        )
        for group in groups
    ]


def of_copies(groups: Sequence[Family]) -> Iterator[Finding]:
    """Yield what is wrong with each group of copies: labels at odds and leaks, or else that there are copies."""
    for family in groups:
        classes = list(dict.fromkeys(look.class_name for look in family.looks))
        splits = list(dict.fromkeys(look.split for look in family.looks))
        images = tuple(map(shown, family.looks))
        if len(classes) > 1:
            sentence = f"{family.words}, in the classes {_listed(classes)}"
            yield Finding(kind="label_conflict", sentence=sentence, images=images)
        if len(splits) > 1:
            yield Finding(kind="leak", sentence=f"{family.words}, in the splits {_listed(splits)}", images=images)
        if len(classes) == len(splits) == 1:
            kind: Kind = "duplicate" if family.is_exact else "near_duplicate"
            yield Finding(kind=kind, sentence=family.words, images=images)


def of_crowds(looks: Sequence[Look]) -> Iterator[Finding]:
    """Yield that images were compared only in part, if there are any."""
    if looks:
        sentence = f"{len(looks):,} images, too many that look much alike at first sight to compare each with each"
        sentence += "; near copies among them may be missed"
        yield Finding(kind="compared_in_part", sentence=sentence, images=tuple(map(shown, looks)))


def to_quarantine(findings: Sequence[Finding], groups: Sequence[Family]) -> list[Quarantined]:
    """Return what training is better off without: images in error, and those that are copies of one that is kept.

    Where classes are at odds none is kept: only a person can say which is right.
    """
    out: list[Quarantined] = []
    for finding in findings:
        if finding.severity == "error" and finding.kind not in ("label_conflict", "leak"):
            out.extend(Quarantined(image.name, f"{finding.kind}: {finding.sentence}") for image in finding.images)
    for how, (first, *others) in (
        ("the same pixels as" if family.is_exact else "nearly a copy of", star)
        for family in groups
        for star in family.stars
    ):
        if len({look.class_name for look in (first, *others)}) > 1:
            reason = f"a copy of one image in several classes; delete the line of the right one, perhaps {first.name}"
            out.extend(Quarantined(look.name, reason) for look in (first, *others))
        else:
            out.extend(Quarantined(look.name, f"{how} {first.name}, in {first.split}") for look in others)
    return out


def _rank(look: Look) -> tuple[int, int, str]:
    return _KEPT_FIRST.index(look.split), -look.result.num_pixels if isinstance(look.result, Seen) else 0, look.name


def of_classes(class_names: Sequence[str], counts: Mapping[str, Counter[str]]) -> Iterator[Finding]:
    """Yield what is wrong with classes, from the numbers of usable images, by split and class."""
    trained = counts["train"]
    numbers = {name: trained[name] for name in class_names}
    least, most = min(numbers, key=numbers.__getitem__), max(numbers, key=numbers.__getitem__)
    if numbers[most] > _MAX_RATIO * numbers[least]:
        sentence = f"{most} has {numbers[most]:,} training images, {least} only {numbers[least]:,}"
        yield Finding(kind="imbalance", sentence=f"{sentence}; class weights or balanced sampling help")
    for name, number in numbers.items():
        if number < _MIN_IMAGES:
            images = "1 usable training image" if number == 1 else f"{number} usable training images"
            yield Finding(kind="small_class", sentence=f"{name}: {images}; from fewer than 10 little is learnt")
    for split, found in counts.items():
        if missing := [name for name in class_names if not found[name]]:
            sentence = f"{split} has no image of {_listed(missing)}; nothing can be said of how well they are told"
            yield Finding(kind="class_mismatch", sentence=sentence)


def of_opening(problems: Sequence[str]) -> Iterator[Finding]:
    """Yield what opening the data noted, each line under its kind."""
    for line in problems:
        kind: Kind = "left_out"
        if line.endswith(EMPTY_CLASS):
            kind = "empty_class"
        elif line.endswith(NOT_TRAINED):
            kind = "class_mismatch"
        elif f": {IGNORED}" in line:
            kind = "ignored"
        yield Finding(kind=kind, sentence=line)


def _listed(names: Sequence[str]) -> str:
    if len(names) > _MOST_LISTED:
        names = [*names[:_MOST_LISTED], f"{len(names) - _MOST_LISTED:,} more"]
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
