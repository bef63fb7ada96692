"""One look through shards, before anything is trained: which samples there are, of which classes, in which split."""

from array import array
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from resnext.data.dataset import Data, DataError, digest_of
from resnext.data.examine import indexed, same_in_two_classes
from resnext.data.found import Admission, ClassImages, Found, home_and_place, numbered
from resnext.data.index import Labelled
from resnext.data.quarantine import not_found
from resnext.data.stream import Reader, Shard, Stream
from resnext.imaging.decode import ImageError, decode


@dataclass(frozen=True, slots=True, kw_only=True)
class Scanned:
    """What a scan sees of a sample: its name, its class, its size in bytes, and its bytes where they were asked for.

    `problem` says why it is left out, where it is.
    """

    name: str
    label: str = ""
    size: int = 0
    content: bytes = b""
    problem: str = ""


class Scanner(Reader, Protocol):
    """A reader that can also look through a shard without reading its images."""

    def scan(self, shard: str, *, reads: bool) -> Iterator[Scanned]:
        """Yield what is seen of every sample of a shard, in stored order; its bytes too where images are to be read.

        Raises `DataError` where the shard cannot be used, and `OSError` where a server does not answer.
        """
        ...


@dataclass(slots=True)
class _OfOneClass:
    """The samples seen of one class in one split."""

    names: list[str] = field(default_factory=list)
    sizes: "array[int]" = field(default_factory=lambda: array("q"))
    contents: list[str] = field(default_factory=list)


def stream_data(
    source: str, scanner: Scanner, shards: Mapping[str, Sequence[str]], problems: Iterable[str], admission: Admission
) -> Data:
    """Scan the shards of every split (empty where there are none) and return them as streams.

    Images are read in the scan where splits are made here, by content, and each decoded where all are to be examined.
    Raises `DataError` where a shard is empty or damaged, or where there are fewer than two classes.
    """
    reads = admission.examine_all or "val" not in shards
    found = _scanned(scanner, shards, admission, reads=reads)
    if found.is_divided_here and not reads:
        found = _scanned(scanner, shards, admission, reads=True)
    found.problems[:0] = problems
    index = indexed(source, found)
    order = list(dict.fromkeys(shard for names in shards.values() for shard in names))
    return Data(
        source=source,
        class_names=index.class_names,
        splits={split: _stream(scanner, labelled, order) for split, labelled in index.splits.items()},
        digest=index.digest,
        problems=index.problems,
        has_own_splits=index.has_own_splits,
    )


def _scanned(scanner: Scanner, shards: Mapping[str, Sequence[str]], admission: Admission, *, reads: bool) -> Found:
    scanned: dict[tuple[str, str], _OfOneClass] = defaultdict(_OfOneClass)
    problems, missing = [], set(admission.quarantine)
    for split, shard in ((split, shard) for split, names in shards.items() for shard in names):
        place = -1
        for place, seen in enumerate(scanner.scan(shard, reads=reads)):
            missing.discard(seen.name)
            if seen.name in admission.quarantine:
                continue
            if problem := seen.problem or (_damage(seen.content) if admission.examine_all else ""):
                problems.append(f"{seen.name}: left out, {problem}")
                continue
            images = scanned[split, seen.label]
            images.names.append(numbered(shard, place))
            images.sizes.append(seen.size)
            if reads:
                images.contents.append(digest_of([seen.content]))
        if place < 0:
            raise DataError(f"{shard}: an empty shard, without a sample; leave it out, or write it again")
    classes = [
        ClassImages(split=split, class_name=label, names=seen.names, sizes=seen.sizes, contents=seen.contents)
        for (split, label), seen in sorted(scanned.items(), key=lambda item: item[0])
    ]
    problems += [*not_found(missing), *same_in_two_classes(classes)]
    return Found(a_class_is="a label", classes=classes, problems=problems)


def _damage(content: bytes) -> str:
    try:
        decode(content)
    except ImageError as error:
        return str(error)
    return ""


def _stream(reader: Reader, labelled: Labelled, order: Sequence[str]) -> Stream:
    """Put the samples of a split, which are in order of their classes, back into the order in which they are stored."""
    by_shard: dict[str, list[tuple[int, int]]] = defaultdict(list)
    for name, label in zip(labelled.paths, labelled.labels, strict=True):
        shard, place = home_and_place(name)
        by_shard[shard].append((place, label))
    shards = []
    for shard in order:
        if shard in by_shard:
            places, labels = zip(*sorted(by_shard[shard]), strict=True)
            shards.append(Shard(reader=reader, name=shard, places=array("q", places), labels=array("i", labels)))
    return Stream.of(shards)
