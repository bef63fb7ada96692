from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from threading import Barrier
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from torch import Tensor, nn

from resnext.data.loader import Loading, UnreadableError, ViewBatch, view_batches
from resnext.evaluation.evaluate import Predict, evaluate, mean_over_views
from resnext.evaluation.metrics import Counts, Scores
from resnext.evaluation.outputs import Outputs
from resnext.imaging.decode import ImageError
from resnext.imaging.transform import stack
from resnext.imaging.views import views
from resnext.spec.preprocessing import Preprocessing
from resnext.spec.protocol import ScoringProtocol
from resnext.training.scoring import outputs, score
from resnext.training.world import World

NAMES = ["ant", "bee", "cat"]
PREPROCESSING = Preprocessing(image_size=6, resize_size=8)
PROTOCOLS = (
    ScoringProtocol(preprocessing=PREPROCESSING),
    ScoringProtocol(preprocessing=PREPROCESSING, crops="ten"),
    ScoringProtocol(preprocessing=PREPROCESSING, crops="dense", scales=(32, 40)),
)

Outcome = tuple[Scores, tuple[str, ...]]
Batches = Callable[[Any], Iterable[ViewBatch]]


@dataclass(frozen=True)
class Pictures:
    """As many images as asked for, of many shapes, some of which cannot be read."""

    num_images: int
    bad: frozenset[int] = frozenset()

    @property
    def labels(self) -> list[int]:
        return [index * index % 3 for index in range(self.num_images)]

    def name(self, index: int) -> str:
        return f"picture[{index}]"

    def image(self, index: int) -> Image.Image:
        if index in self.bad:
            raise ImageError("the file is empty")
        rng, shape = np.random.default_rng(index), (9 + index % 4, 7 + 3 * (index % 5), 3)
        return Image.fromarray(rng.integers(0, 256, shape, dtype=np.uint8))


class Table:
    """Where threads, in place of processes, lay down what each has and take up what all have."""

    def __init__(self, size: int) -> None:
        self.laid: list[Any] = [None] * size
        self.barrier = Barrier(size, timeout=30)

    def exchange(self, rank: int, value: Any) -> list[Any]:
        self.laid[rank] = value
        self.barrier.wait()
        everything = list(self.laid)
        self.barrier.wait()
        return everything


@dataclass(frozen=True)
class Seat:
    """What `score` needs of a world, at one of the places of a table."""

    table: Table
    rank: int
    size: int

    def gather(self, value: Any) -> list[Any]:
        return self.table.exchange(self.rank, value)

    def sum(self, values: Tensor) -> Tensor:
        return torch.stack(self.table.exchange(self.rank, values)).sum(dim=0)


def by_colour(pixels: Tensor) -> Tensor:
    """Take the mean colour of images of any size for the logits of three classes."""
    assert len(pixels) > 0
    return (pixels.double() - 127).mean(dim=(2, 3))


def of_seven(pixels: Tensor) -> Tensor:
    return nn.functional.pad(by_colour(pixels), (0, 4))


def scored(
    size: int, dataset: Pictures, make: Batches, predict: Predict[Tensor] = by_colour, names: Sequence[str] = NAMES
) -> list[Outcome]:
    """Return what each of so many processes gets."""
    table = Table(size)

    def one(rank: int) -> Outcome:
        seat: Any = Seat(table, rank, size)
        return score(seat, mean_over_views(predict), dataset, make, names)

    with ThreadPoolExecutor(size) as threads:
        outcomes = [threads.submit(one, rank) for rank in range(size)]
    return [outcome.result() for outcome in outcomes]


def collected(size: int, dataset: Pictures, make: Batches) -> list[tuple[Outputs, tuple[str, ...]]]:
    """Return what each of so many processes collects."""
    table = Table(size)

    def one(rank: int) -> tuple[Outputs, tuple[str, ...]]:
        seat: Any = Seat(table, rank, size)
        return outputs(seat, mean_over_views(by_colour), dataset, make)

    with ThreadPoolExecutor(size) as threads:
        made = [threads.submit(one, rank) for rank in range(size)]
    return [each.result() for each in made]


def counted_by_hand(dataset: Pictures, protocol: ScoringProtocol) -> Counts:
    counts = Counts.none(3)
    for index in sorted(set(range(dataset.num_images)) - dataset.bad):
        shown = [by_colour(stack([view])) for view in views(dataset.image(index), protocol)]
        counts += Counts.of(torch.stack(shown).sum(dim=0) / len(shown), torch.tensor([dataset.labels[index]]))
    return counts


def batched(protocol: ScoringProtocol, batch_size: int) -> Batches:
    return lambda part: view_batches(part, protocol, Loading(batch_size=batch_size, num_threads=0))


@given(
    protocol=st.sampled_from(PROTOCOLS),
    num_images=st.integers(1, 14),
    bad=st.frozensets(st.integers(0, 13), max_size=6),
    size=st.integers(1, 5),
    batch_size=st.integers(1, 16),
)
def test_each_image_counts_once_whatever_the_protocol_the_batch_size_and_the_number_of_processes(
    protocol: ScoringProtocol, num_images: int, bad: frozenset[int], size: int, batch_size: int
) -> None:
    dataset = Pictures(num_images, frozenset({*bad} & {*range(1, num_images)}))
    expected = Scores.of(counted_by_hand(dataset, protocol), NAMES)
    sentences = sorted(f"picture[{index}]: left out, the file is empty" for index in dataset.bad)
    for scores, left_out in scored(size, dataset, batched(protocol, batch_size)):
        assert scores.num_images == num_images - len(dataset.bad)
        assert (scores.confusion, scores.classes) == (expected.confusion, expected.classes)
        assert scores.loss == pytest.approx(expected.loss, rel=1e-12)
        assert sorted(left_out) == sentences


@given(dataset=st.integers(1, 14).map(Pictures), size=st.integers(1, 4))
def test_the_top_5_error_is_of_the_images_of_all_processes(dataset: Pictures, size: int) -> None:
    expected = evaluate(mean_over_views(of_seven), batched(PROTOCOLS[0], 4)(dataset), "abcdefg")
    for scores, _ in scored(size, dataset, batched(PROTOCOLS[0], 4), of_seven, "abcdefg"):
        assert scores.top5_error_percent == expected.top5_error_percent


def test_more_processes_than_images_score_them_all_the_same() -> None:
    alone = score(World(), mean_over_views(by_colour), Pictures(2), batched(PROTOCOLS[0], 4), NAMES)
    assert alone[0].num_images == 2
    assert scored(4, Pictures(2), batched(PROTOCOLS[0], 4)) == [alone] * 4


@pytest.mark.parametrize("protocol", PROTOCOLS, ids=lambda protocol: protocol.crops)
def test_a_process_none_of_whose_images_can_be_read_is_passed_over(protocol: ScoringProtocol) -> None:
    [first, second] = scored(2, Pictures(6, frozenset({1, 3, 5})), batched(protocol, 3))
    assert first == second
    assert (first[0].num_images, len(first[1])) == (3, 3)


def test_where_no_image_can_be_read_every_process_says_that_there_is_none() -> None:
    with pytest.raises(UnreadableError, match=r"none of 4 images to score can be read, the first: picture\[0\]"):
        scored(2, Pictures(4, frozenset(range(4))), batched(PROTOCOLS[1], 2))


@pytest.mark.parametrize("times", [0, 2])
def test_an_image_that_is_counted_twice_or_not_at_all_is_noticed(times: int) -> None:
    def make(part: Any) -> list[ViewBatch]:
        first, *others = batched(PROTOCOLS[0], 1)(part)
        return [first] * times + others

    with pytest.raises(AssertionError, match="counted twice, or not at all"):
        scored(2, Pictures(6), make)


@given(
    num_images=st.integers(1, 14),
    bad=st.frozensets(st.integers(0, 13), max_size=6),
    size=st.integers(1, 5),
    batch_size=st.integers(1, 16),
)
def test_every_process_has_what_was_said_of_every_readable_image_in_the_order_of_the_data_set(
    num_images: int, bad: frozenset[int], size: int, batch_size: int
) -> None:
    dataset = Pictures(num_images, frozenset({*bad} & {*range(1, num_images)}))
    readable = sorted({*range(num_images)} - dataset.bad)
    shown = [stack([views(dataset.image(index), PROTOCOLS[0])[0]]) for index in readable]
    expected = torch.cat([by_colour(view) for view in shown]).float()
    for found, left_out in collected(size, dataset, batched(PROTOCOLS[0], batch_size)):
        assert torch.equal(found.logits, expected)
        assert found.labels.tolist() == [dataset.labels[index] for index in readable]
        assert found.names == tuple(dataset.name(index) for index in readable)
        assert sorted(left_out) == sorted(f"picture[{index}]: left out, the file is empty" for index in dataset.bad)


def test_where_no_image_can_be_read_nothing_is_collected() -> None:
    with pytest.raises(UnreadableError, match="none of 4 images"):
        collected(2, Pictures(4, frozenset(range(4))), batched(PROTOCOLS[0], 2))
