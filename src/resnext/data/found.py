"""What a source finds before anything is made of it: named images under classes, and what is wrong with them."""

from collections.abc import Sequence
from dataclasses import dataclass, field

SPLIT_NAMES = {"train": "train", "val": "val", "valid": "val", "validation": "val", "test": "test"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Admission:
    """Which images are let in when a source is opened: none that is named in `quarantine`, and none that is damaged.

    Damage is looked for by decoding: every image where `examine_all`, none where `examines` is false, so that damaged
    ones stay in; else those of small sets, see `examined`.
    """

    examines: bool = True
    examine_all: bool = False
    quarantine: frozenset[str] = frozenset()


USUAL = Admission()


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassImages:
    """The images of one class in one split (empty where there are none).

    `names` tell them apart, `sizes` are in bytes; `contents` has a digest of every image where they were read.
    """

    split: str
    class_name: str
    names: Sequence[str]
    sizes: Sequence[int]
    contents: Sequence[str] = ()


@dataclass(slots=True, kw_only=True)
class Found:
    """Images in the order of their classes, and a line for everything that was passed over.

    `a_class_is` says, for messages, what makes a class in the source. `names_say_classes` is whether an image of
    another class, or in another split, would have another name.
    """

    a_class_is: str
    classes: list[ClassImages] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    names_say_classes: bool = False

    @property
    def num_images(self) -> int:
        """How many images there are."""
        return sum(len(images.names) for images in self.classes)

    @property
    def has_splits(self) -> bool:
        """Whether splits came with the images."""
        return any(images.split for images in self.classes)

    @property
    def trained(self) -> set[str]:
        """The classes that have images to train on."""
        return {images.class_name for images in self.classes if images.split in ("", "train")}

    @property
    def is_divided_here(self) -> bool:
        """Whether validation images have to be held out of those for training."""
        trained = self.trained
        return not any(images.split == "val" and images.class_name in trained for images in self.classes)


def is_unicode(text: str) -> bool:
    """Tell whether text can be written: JSON can hold half of a pair of surrogates, which is no character."""
    return not any("\ud800" <= character <= "\udfff" for character in text)


def numbered(home: str, place: int) -> str:
    """Return the name of an image that has none of its own, by its place in a table or a shard, counted from 0."""
    return f"{home}[{place}]"


def home_and_place(name: str) -> tuple[str, int]:
    """Take the name from `numbered` apart."""
    home, _, place = name.removesuffix("]").rpartition("[")
    return home, int(place)
