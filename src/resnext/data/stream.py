"""Images that come one after another, from shards: tar files, or the files of a table."""

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import accumulate
from typing import Protocol

from PIL import Image

from resnext.imaging.decode import decode


class Reader(Protocol):
    """What reads shards by name."""

    def read(self, shard: str) -> Iterator[tuple[str, bytes]]:
        """Yield the name and the encoded bytes of every sample of a shard, in stored order.

        A sample without an image has no bytes. Raises `OSError`, in a sentence, where the shard cannot be read.
        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """One image of a stream; `index` is its place in the whole stream, in stored order."""

    index: int
    name: str
    label: int
    content: bytes

    def image(self) -> Image.Image:
        """Return the image as RGB. Raises `ImageError` where it cannot be decoded."""
        return decode(self.content)


@dataclass(frozen=True, slots=True, kw_only=True)
class Shard:
    """Some samples of a shard: their places in it, ascending from 0 on, their labels, and the index of the first."""

    reader: Reader
    name: str
    places: Sequence[int]
    labels: Sequence[int]
    first_index: int = 0

    def cut(self, start: int, stop: int) -> "Shard":
        """Return the samples from one position among these to another."""
        first = self.first_index + start
        return replace(self, places=self.places[start:stop], labels=self.labels[start:stop], first_index=first)

    def samples(self) -> Iterator[Sample]:
        """Read the samples, in stored order. Raises `OSError` where the shard has fewer than it had, or is damaged."""
        wanted = enumerate(zip(self.places, self.labels, strict=True))
        number, (place, label) = next(wanted)
        for at, (name, content) in enumerate(self.reader.read(self.name)):
            if at < place:
                continue
            yield Sample(index=self.first_index + number, name=name, label=label, content=content)
            try:
                number, (place, label) = next(wanted)
            except StopIteration:
                return
        raise OSError(f"{self.name} has fewer samples than when it was opened; put the same file back")


@dataclass(frozen=True)
class Stream:
    """Labelled images in stored order, shard after shard. The labels are known; the images have to be read in order."""

    shards: tuple[Shard, ...]

    @classmethod
    def of(cls, shards: Sequence[Shard]) -> "Stream":
        """Return shards as a stream, in which every sample is counted."""
        starts = accumulate((len(shard.places) for shard in shards), initial=0)
        return cls(tuple(replace(shard, first_index=start) for shard, start in zip(shards, starts, strict=False)))

    @cached_property
    def labels(self) -> list[int]:
        """The class of every sample, in stored order."""
        return [label for shard in self.shards for label in shard.labels]

    def samples(self) -> Iterator[Sample]:
        """Read every sample, in order. Raises `OSError` where a shard cannot be read."""
        for shard in self.shards:
            yield from shard.samples()

    def stretch(self, start: int, stop: int) -> "Stream":
        """Return the samples from one position to another; shards that have none of them are never opened."""
        ends = list(accumulate(len(shard.places) for shard in self.shards))
        kept = []
        for number in range(bisect_right(ends, start), len(ends)):
            shard, begin = self.shards[number], ends[number] - len(self.shards[number].places)
            if begin >= stop:
                break
            kept.append(shard.cut(max(0, start - begin), min(stop, ends[number]) - begin))
        return Stream(tuple(shard for shard in kept if shard.places))

    def relabelled(self, labels: Sequence[int]) -> "Stream":
        """Return the stream with every label replaced by what stands at its place in `labels`."""
        return Stream(tuple(replace(shard, labels=[labels[label] for label in shard.labels]) for shard in self.shards))
