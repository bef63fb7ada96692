from collections.abc import Iterator
from dataclasses import dataclass, field
from io import BytesIO

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from resnext.data.dataset import Data
from resnext.data.facts import shorter_side
from resnext.data.loader import Loading, evaluation_batches
from resnext.data.stream import Shard, Stream
from resnext.data.views import joined, share, under_classes
from resnext.spec.preprocessing import Preprocessing

PREPROCESSING = Preprocessing(image_size=6, resize_size=6)


def encoded(seed: int) -> bytes:
    buffer = BytesIO()
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (9, 7, 3), dtype=np.uint8)).save(buffer, "BMP")
    return buffer.getvalue()


@dataclass
class Memory:
    """Shards in memory, some of whose samples are damaged; `opened` counts how often each was read."""

    sizes: tuple[int, ...]
    bad: frozenset[int] = frozenset()
    opened: list[str] = field(default_factory=list)

    def read(self, shard: str) -> Iterator[tuple[str, bytes]]:
        self.opened.append(shard)
        number = int(shard)
        for place in range(self.sizes[number]):
            index = sum(self.sizes[:number]) + place
            yield f"sample[{index}]", b"words" if index in self.bad else encoded(index)


def stream_of(memory: Memory) -> Stream:
    return Stream.of(
        [
            Shard(
                reader=memory,
                name=str(n),
                places=range(size),
                labels=[(sum(memory.sizes[:n]) + i) % 3 for i in range(size)],
            )
            for n, size in enumerate(memory.sizes)
        ]
    )


shard_sizes = st.lists(st.integers(1, 6), min_size=1, max_size=6).map(tuple)


@given(sizes=shard_sizes)
def test_a_stream_yields_every_sample_under_its_index_and_label(sizes: tuple[int, ...]) -> None:
    stream = stream_of(Memory(sizes))
    samples = list(stream.samples())
    assert [sample.index for sample in samples] == list(range(sum(sizes)))
    assert [sample.name for sample in samples] == [f"sample[{index}]" for index in range(sum(sizes))]
    assert [sample.label for sample in samples] == stream.labels == [index % 3 for index in range(sum(sizes))]


@given(sizes=shard_sizes, start=st.integers(0, 40), length=st.integers(0, 40))
def test_a_stretch_is_what_a_slice_would_be_and_opens_no_other_shard(
    sizes: tuple[int, ...], start: int, length: int
) -> None:
    memory = Memory(sizes)
    indices = list(range(sum(sizes)))[start : start + length]
    part = stream_of(memory).stretch(start, start + length)
    assert [sample.index for sample in part.samples()] == indices
    ends = np.cumsum(sizes)
    assert memory.opened == [
        str(n) for n, size in enumerate(sizes) if set(range(ends[n] - size, ends[n])) & set(indices)
    ]


def test_a_shard_that_has_fewer_samples_than_it_had_is_a_sentence() -> None:
    memory = Memory((3, 4))
    stream = stream_of(memory)
    memory.sizes = (3, 2)
    with pytest.raises(OSError, match="1 has fewer samples than when it was opened; put the same file back"):
        list(stream.samples())


@given(sizes=shard_sizes, of=st.integers(1, 4), size=st.integers(1, 7), threads=st.integers(0, 2), data=st.data())
def test_processes_score_every_readable_image_once(
    sizes: tuple[int, ...], of: int, size: int, threads: int, data: st.DataObject
) -> None:
    bad = data.draw(st.frozensets(st.integers(0, sum(sizes) - 1), max_size=5))
    stream = stream_of(Memory(sizes, bad))
    loading = Loading(batch_size=size, num_threads=threads)
    batches = [b for rank in range(of) for b in evaluation_batches(share(stream, rank, of), PREPROCESSING, loading)]
    assert [name for b in batches for name in b.names] == [f"sample[{i}]" for i in range(sum(sizes)) if i not in bad]
    assert [line.partition(":")[0] for b in batches for line in b.left_out] == [f"sample[{i}]" for i in sorted(bad)]
    assert [label for b in batches for label in b.labels.tolist()] == [i % 3 for i in range(sum(sizes)) if i not in bad]


def opened(train: Stream, val: Stream) -> Data:
    return Data(source="tars", class_names=("a", "b", "c"), splits={"train": train, "val": val}, digest="d")


def test_streams_are_relabelled_joined_and_measured_like_data_sets() -> None:
    data = opened(stream_of(Memory((2, 2))), stream_of(Memory((3,))))
    relabelled = under_classes(data, ["c", "x", "b", "a"])
    assert list(relabelled.split("train").labels) == [3, 2, 0, 3]
    everything = joined([*relabelled.splits.values()])
    assert isinstance(everything, Stream)
    assert [(sample.index, sample.label) for sample in everything.samples()] == list(enumerate([3, 2, 0, 3, 3, 2, 0]))
    assert shorter_side(data) == 7


def test_a_stream_cannot_be_had_by_index() -> None:
    data = opened(stream_of(Memory((2,))), stream_of(Memory((3,))))
    with pytest.raises(ValueError, match="tars is a stream, whose images cannot be read in any order"):
        data.indexed("train")
