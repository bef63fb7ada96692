"""From what was found to data: every image looked at where that is due, classes fixed, splits made, a digest taken."""

import os
from array import array
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import chain, repeat

from resnext.data.dataset import Data, DataError, digest_of
from resnext.data.encoded import EncodedImages, Store
from resnext.data.found import Admission, ClassImages, Found
from resnext.data.index import Index, Labelled, Paths
from resnext.data.quarantine import not_found
from resnext.data.split import split_by_content
from resnext.imaging.decode import ImageError, decode
from resnext.imaging.threads import in_threads

MAX_EXAMINED = 20_000
NOT_TRAINED = "left out, a class without training images"

_MOST_NAMED = 5
_HELD_OUT = {"val": 0.1, "test": 0.1}


def examined(found: Found, store: Store, admission: Admission) -> Found:
    """Read and decode each of up to 20,000 images, or all; leave out and note those that fail.

    Of more than that, each is only read, and that only where splits are made here, by content; where they came with
    the images, what was found is returned as it is.
    """
    found = _admitted(found, admission.quarantine)
    decodes = admission.examines and (admission.examine_all or found.num_images <= MAX_EXAMINED)
    if not decodes and not found.is_divided_here:
        return found

    def examine(name: str) -> str | ImageError:
        try:
            content = store.read(name)
            if decodes:
                decode(content)
        except ImageError as error:
            return error if admission.examines else digest_of([name])
        return digest_of([content])

    outcomes = in_threads(examine, chain.from_iterable(images.names for images in found.classes), os.cpu_count() or 1)
    problems = list(found.problems)
    readable = [_readable(images, outcomes, problems) for images in found.classes]
    classes = [images for images in readable if images.names]
    if admission.examines:
        problems.extend(same_in_two_classes(classes))
    return replace(found, classes=classes, problems=problems)


def _admitted(found: Found, quarantine: frozenset[str]) -> Found:
    """Leave out the images in quarantine, and note names that no image has."""
    if not quarantine:
        return found
    missing, classes = set(quarantine), []
    for images in found.classes:
        kept = [(name, size) for name, size in zip(images.names, images.sizes, strict=True) if name not in quarantine]
        missing.difference_update(images.names)
        if kept:
            names, sizes = zip(*kept, strict=True)
            classes.append(replace(images, names=names, sizes=sizes))
    return replace(found, classes=classes, problems=[*found.problems, *not_found(missing)])


def _readable(images: ClassImages, outcomes: Iterator[str | ImageError], problems: list[str]) -> ClassImages:
    """Keep the images that could be read, with digests of their contents."""
    names, sizes, contents = [], array("q"), []
    for name, size in zip(images.names, images.sizes, strict=True):
        outcome = next(outcomes)
        if isinstance(outcome, ImageError):
            problems.append(f"{name}: left out, {outcome}")
            continue
        names.append(name)
        sizes.append(size)
        contents.append(outcome)
    return replace(images, names=names, sizes=sizes, contents=contents)


def indexed(source: str, found: Found) -> Index:
    """Fix the classes, make the splits that did not come with the images, and digest it all.

    Raises `DataError` where there are fewer than two classes.
    """
    problems = list(found.problems)
    class_names = _class_names(source, found, problems)
    known = set(class_names)
    classes = [images for images in found.classes if images.class_name in known]
    return Index(
        class_names=class_names,
        splits=_splits(classes, class_names),
        digest=digest_of(_identities(replace(found, classes=classes))),
        problems=tuple(problems),
        has_own_splits=found.has_splits,
    )


def data_of(source: str, store: Store, index: Index) -> Data:
    """Return the images of a store as data, under an index of them."""
    return Data(
        source=source,
        class_names=index.class_names,
        splits={split: EncodedImages(store, *labelled) for split, labelled in index.splits.items()},
        digest=index.digest,
        problems=index.problems,
        has_own_splits=index.has_own_splits,
    )


def same_in_two_classes(classes: Sequence[ClassImages]) -> Iterator[str]:
    """Yield a line for every image whose content was seen before in another class."""
    first: dict[str, tuple[str, str]] = {}
    for images in classes:
        for name, content in zip(images.names, images.contents, strict=bool(images.contents)):
            class_name, other = first.setdefault(content, (images.class_name, name))
            if class_name != images.class_name:
                yield f"{name}: the same image as {other}, which is in another class"


def _class_names(source: str, found: Found, problems: list[str]) -> tuple[str, ...]:
    """Fix the classes by the training images, and note those that only other splits have."""
    names = found.trained
    for name in sorted({images.class_name for images in found.classes} - names):
        problems.append(f"{name}: {NOT_TRAINED}")
    if len(names) < 2:
        what = f"only the class {min(names)!r}" if names else "no images to train on in any class"
        wrong = f"; what is wrong: {'; '.join(problems[:_MOST_NAMED])}" if problems else ""
        raise DataError(f"{source}: found {what}; at least two classes are needed, {found.a_class_is} for each{wrong}")
    return tuple(sorted(names))


def _identities(found: Found) -> Iterator[str]:
    """Yield what tells every image from its like: its name and its size, or its name and its content."""
    for images in found.classes:
        if not found.names_say_classes:
            yield f"{images.split}:{images.class_name}:{len(images.names)}"
        for name, what in zip(images.names, images.sizes if found.has_splits else images.contents, strict=True):
            yield f"{name}:{what}"


def _splits(classes: list[ClassImages], class_names: tuple[str, ...]) -> dict[str, Labelled]:
    label_of = {name: label for label, name in enumerate(class_names)}
    by_split: dict[str, list[ClassImages]] = defaultdict(list)
    for images in classes:
        by_split[images.split or "train"].append(images)
    splits = {split: _labelled(chosen, label_of) for split, chosen in by_split.items()}
    if "val" not in splits:
        fractions = {"val": _HELD_OUT["val"]} if "test" in splits else _HELD_OUT
        contents = [content for images in by_split["train"] for content in images.contents]
        splits.update(_divided(splits["train"], contents, fractions))
    return splits


def _labelled(classes: list[ClassImages], label_of: dict[str, int]) -> Labelled:
    labels = array("i")
    for images in classes:
        labels.extend(repeat(label_of[images.class_name], len(images.names)))
    return Labelled(Paths.of(name for images in classes for name in images.names), labels)


def _divided(train: Labelled, contents: Sequence[str], fractions: dict[str, float]) -> dict[str, Labelled]:
    divided = split_by_content(train.labels, contents, fractions)
    return {
        split: Labelled(Paths.of(train.paths[i] for i in indices), array("i", [train.labels[i] for i in indices]))
        for split, indices in divided.items()
        if indices
    }
