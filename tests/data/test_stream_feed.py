from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from resnext.data import stream_feed
from resnext.data.augment import augmenter
from resnext.data.loader import Batch, UnreadableError
from resnext.data.open import open_data
from resnext.data.sampler import Sampler
from resnext.data.stream import Stream
from resnext.data.stream_feed import StreamFeed, window_order
from resnext.spec.preprocessing import Preprocessing
from resnext.spec.recipe import Augmentation

PREPROCESSING = Preprocessing(image_size=6, resize_size=6)
AUGMENT = augmenter(Augmentation(crop="random_resized", flip=True), PREPROCESSING)


@pytest.fixture(scope="session")
def sources(written: Callable[[Path], dict[str, str]], tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    return written(tmp_path_factory.mktemp("sources") / "images")


@pytest.fixture(scope="session", params=["tar", "streaming"])
def stream(request: pytest.FixtureRequest, sources: dict[str, str]) -> Stream:
    found = open_data(sources[request.param]).split("train")
    assert isinstance(found, Stream)
    return found


def shown(
    stream: Stream, *, of: int = 1, size: int = 4, threads: int = 0, seed: int = 0, epoch: int = 1
) -> list[list[Batch]]:
    """Return the batches of an epoch, those of each process in a list."""
    num_images = len(stream.labels)
    samplers = [
        Sampler(num_images=num_images, batch_size=size, seed=seed, rank=rank, num_ranks=of) for rank in range(of)
    ]
    return [
        list(StreamFeed(stream=stream, augment=AUGMENT, sampler=sampler, num_threads=threads).batches(epoch))
        for sampler in samplers
    ]


def names(parts: list[list[Batch]]) -> list[str]:
    return [name for part in parts for batch in part for name in batch.names]


def is_same(first: list[Batch], second: list[Batch]) -> bool:
    return len(first) == len(second) and all(
        torch.equal(a.pixels, b.pixels) and torch.equal(a.labels, b.labels) and a.names == b.names
        for a, b in zip(first, second, strict=True)
    )


@given(num_samples=st.integers(0, 60), window=st.integers(1, 70), seed=st.integers(0, 5))
def test_a_window_gives_out_every_sample_once_and_none_before_it_came_in(
    num_samples: int, window: int, seed: int
) -> None:
    order = window_order(num_samples, window, np.random.default_rng(seed))
    assert sorted(order.tolist()) == list(range(num_samples))
    assert all(position < place + window for place, position in enumerate(order.tolist()))


def test_a_window_as_long_as_the_stream_shuffles_evenly() -> None:
    rng = np.random.default_rng(0)
    places = [window_order(4, 4, rng).tolist().index(0) for _ in range(4000)]
    assert max(abs(count - 1000) for count in np.bincount(places)) < 120  # four standard deviations


@pytest.mark.parametrize("threads", [0, 2])
@pytest.mark.parametrize("of", [1, 2])
@pytest.mark.parametrize("size", [4, 10])
def test_an_epoch_shows_the_same_samples_once_each_to_any_number_of_processes_and_threads(
    stream: Stream, of: int, threads: int, size: int
) -> None:
    found = names(shown(stream, of=of, threads=threads, size=size))
    assert len(found) == len(set(found)) == 24 // size * size
    assert set(found) == set(names(shown(stream, size=size)))


def test_tar_shards_and_tables_hold_the_images_of_the_folder(sources: dict[str, str], stream: Stream) -> None:
    folder = open_data(sources["folder"])
    expected = {
        (folder.indexed("train").image(i).tobytes(), label) for i, label in enumerate(folder.split("train").labels)
    }
    assert {(sample.image().tobytes(), sample.label) for sample in stream.samples()} == expected
    assert len(expected) == 24


def test_order_and_changes_depend_on_seed_and_epoch_and_not_on_threads(stream: Stream) -> None:
    [first] = shown(stream)
    assert is_same(first, shown(stream, threads=2)[0])
    for other in (shown(stream, epoch=2), shown(stream, seed=1)):
        assert not is_same(first, other[0])
        assert names(other) != names([first])


def test_the_random_change_of_a_sample_does_not_depend_on_who_shows_it(stream: Stream) -> None:
    def by_name(parts: list[list[Batch]]) -> dict[str, torch.Tensor]:
        return {name: p for part in parts for b in part for name, p in zip(b.names, b.pixels, strict=True)}

    alone, shared = by_name(shown(stream)), by_name(shown(stream, of=2, size=8))
    assert all(torch.equal(alone[name], pixels) for name, pixels in shared.items())


@given(first_step=st.integers(0, 6), of=st.sampled_from([1, 2]), window=st.sampled_from([1, 3, 1024]))
def test_an_epoch_goes_on_from_any_step_as_if_it_had_not_stopped(
    sources: dict[str, str], first_step: int, of: int, window: int
) -> None:
    stream = open_stream(sources)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stream_feed, "WINDOW", window)
        for rank in range(of):
            sampler = Sampler(num_images=24, batch_size=4, seed=0, rank=rank, num_ranks=of)
            feed = StreamFeed(stream=stream, augment=AUGMENT, sampler=sampler, num_threads=0)
            assert is_same(list(feed.batches(1, first_step)), list(feed.batches(1))[first_step:])


def open_stream(sources: dict[str, str]) -> Stream:
    found = open_data(sources["tar"]).split("train")
    assert isinstance(found, Stream)
    return found


def test_what_a_window_has_passed_is_not_read_again(sources: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    stream = open_stream(sources)
    read: list[str] = []
    whole = type(stream.shards[0].reader).read

    def counted(self, shard):
        read.append(shard)
        return whole(self, shard)

    monkeypatch.setattr(type(stream.shards[0].reader), "read", counted)
    monkeypatch.setattr(stream_feed, "WINDOW", 2)
    feed = StreamFeed(
        stream=stream, augment=AUGMENT, sampler=Sampler(num_images=24, batch_size=4, seed=0), num_threads=0
    )
    list(feed.batches(1, first_step=5))
    assert 1 <= len(read) <= 2 < len(stream.shards)


@pytest.mark.parametrize("of", [1, 2])
def test_an_image_that_cannot_be_decoded_is_named_and_its_place_taken_within_its_batch(
    sources: dict[str, str], monkeypatch: pytest.MonkeyPatch, of: int
) -> None:
    stream = open_stream(sources)
    bad = [sample.name for sample in stream.samples()][3]
    spoil(stream, {bad}, monkeypatch)
    batches = [batch for part in shown(stream, of=of, size=8) for batch in part]
    [batch] = [batch for batch in batches if batch.left_out]
    assert batch.left_out[0].startswith(f"{bad}: left out, not an image")
    assert len(batch.names) == 8 // of == len(set(batch.names)) + 1
    assert len(batch.pixels) == len(batch.labels) == 8 // of


def test_a_batch_of_nothing_but_damage_is_one_sentence(
    sources: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    stream = open_stream(sources)
    spoil(stream, {sample.name for sample in stream.samples()}, monkeypatch)
    with pytest.raises(UnreadableError, match="none of the 4 images of a batch can be decoded, the last: "):
        shown(stream)


def spoil(stream: Stream, bad: set[str], monkeypatch: pytest.MonkeyPatch) -> None:
    whole = type(stream.shards[0].reader).read

    def spoilt(self, shard):
        for name, content in whole(self, shard):
            yield name, b"words" if name in bad else content

    monkeypatch.setattr(type(stream.shards[0].reader), "read", spoilt)
