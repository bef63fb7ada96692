from collections.abc import Callable, Iterable, Iterator, Sequence
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

from resnext.data.loader import Loading, ViewBatch, view_batches
from resnext.evaluation.evaluate import Predict, count, evaluate, mean_over_views
from resnext.evaluation.metrics import Counts, Scores
from resnext.imaging.decode import ImageError
from resnext.imaging.transform import stack
from resnext.imaging.views import views
from resnext.spec.preprocessing import Preprocessing
from resnext.spec.protocol import ScoringProtocol
from resnext.training.scoring import score
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
class Labelled:
    pixels: Tensor
    labels: Tensor


def batches(sizes: list[int]) -> Iterator[Labelled]:
    """Make batches whose pixels are the logits themselves."""
    generator = torch.Generator().manual_seed(0)
    for size in sizes:
        logits = torch.randn(size, 3, generator=generator)
        yield Labelled(logits, torch.randint(3, (size,), generator=generator))


def identity(pixels: Tensor) -> Tensor:
    return pixels


class Session:
    """A predictor that is no torch module, such as another runtime's."""

    def __call__(self, pixels: Tensor) -> Tensor:
        return torch.from_numpy(pixels.numpy())


@pytest.mark.parametrize("predict", [identity, nn.Identity(), Session(), lambda pixels: pixels.clone()])
def test_anything_that_turns_pixels_into_logits_is_scored(predict: Callable[[Tensor], Tensor]) -> None:
    everything = list(batches([4, 4, 1]))
    logits, labels = (torch.cat([getattr(batch, part) for batch in everything]) for part in ("pixels", "labels"))
    scores, expected = evaluate(predict, everything, NAMES), Scores.of(Counts.of(logits, labels), NAMES)
    assert scores.loss == pytest.approx(expected.loss, rel=1e-12)
    assert (scores.num_images, scores.confusion, scores.classes) == (9, expected.confusion, expected.classes)


def test_batches_are_taken_as_they_come_and_each_once() -> None:
    seen: list[int] = []

    def predict(pixels: Tensor) -> Tensor:
        seen.append(len(pixels))
        return pixels

    assert evaluate(predict, batches([2, 3, 5]), NAMES).num_images == 10
    assert seen == [2, 3, 5]


def test_a_batch_of_which_every_image_was_left_out_is_not_shown_to_the_predictor() -> None:
    nothing = Labelled(torch.zeros(0, 3, 1, 1), torch.zeros(0, dtype=torch.int64))
    scores = evaluate(identity, [nothing, *batches([2]), nothing], NAMES)
    assert scores.num_images == 2


def test_no_gradient_is_recorded() -> None:
    weight = torch.ones(3, requires_grad=True)
    answers: list[Tensor] = []

    def predict(pixels: Tensor) -> Tensor:
        answers.append(pixels * weight)
        return answers[-1]

    evaluate(predict, batches([2]), NAMES)
    assert [answer.requires_grad for answer in answers] == [False]


@pytest.mark.parametrize("sizes", [[], [0, 0]])
def test_no_images_are_refused(sizes: list[int]) -> None:
    with pytest.raises(ValueError, match="no images to score"):
        evaluate(identity, batches(sizes), NAMES)


def test_an_error_of_the_predictor_comes_through() -> None:
    def predict(_: Tensor) -> Tensor:
        raise RuntimeError("out of memory")

    with pytest.raises(RuntimeError, match="out of memory"):
        evaluate(predict, batches([2]), NAMES)


@given(sizes=st.lists(st.integers(0, 6), max_size=8), place=st.integers(0, 8))
def test_counts_of_parts_of_a_data_set_add_up_to_those_of_all(sizes: list[int], place: int) -> None:
    everything = list(batches(sizes))
    whole = count(identity, everything, 3)
    together = count(identity, everything[:place], 3) + count(identity, everything[place:], 3)
    assert whole.num_images == together.num_images == sum(sizes)
    assert torch.equal(whole.confusion, together.confusion)
    assert whole.num_top5_correct == together.num_top5_correct
    assert whole.loss_sum == pytest.approx(together.loss_sum, rel=1e-12)


def test_logits_of_another_number_of_classes_are_refused_with_both_numbers() -> None:
    with pytest.raises(ValueError, match=r"logits of shape \(2, 3\): there are 4 class names"):
        count(identity, batches([2]), 4)


@given(num_views=st.integers(1, 10))
def test_logits_of_views_are_averaged(num_views: int) -> None:
    views = tuple(torch.randn(4, 3, generator=torch.Generator().manual_seed(seed)) for seed in range(num_views))
    by_hand = sum(view.double() for view in views) / num_views
    torch.testing.assert_close(mean_over_views(identity)(views).double(), by_hand, rtol=0, atol=1e-6)


def test_a_single_view_is_scored_as_it_is() -> None:
    pixels = torch.randn(5, 3, generator=torch.Generator().manual_seed(0))
    assert torch.equal(mean_over_views(identity)((pixels,)), pixels)


def test_the_mean_is_of_logits_so_that_one_sure_view_outweighs_two_doubtful_ones() -> None:
    views = tuple(torch.tensor([row]) for row in ([9.0, 0.0], [0.0, 2.0], [0.0, 2.0]))
    probabilities = torch.stack([view.softmax(dim=1) for view in views]).mean(dim=0)
    assert (int(mean_over_views(identity)(views).argmax()), int(probabilities.argmax())) == (0, 1)


def test_views_of_different_shapes_are_scored() -> None:
    @dataclass(frozen=True)
    class Viewed:
        pixels: tuple[Tensor, ...]
        labels: Tensor

    views = (torch.full((1, 3, 4, 6), 2.0), torch.full((1, 3, 8, 12), -1.0))
    predict = mean_over_views(lambda pixels: pixels.mean(dim=(2, 3)) * torch.tensor([1.0, 0.0, -1.0]))
    assert evaluate(predict, [Viewed(views, torch.tensor([0]))], NAMES).top1_error_percent == 0


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
    with pytest.raises(ValueError, match="no images to score"):
        scored(2, Pictures(4, frozenset(range(4))), batched(PROTOCOLS[1], 2))


@pytest.mark.parametrize("times", [0, 2])
def test_an_image_that_is_counted_twice_or_not_at_all_is_noticed(times: int) -> None:
    def make(part: Any) -> list[ViewBatch]:
        first, *others = batched(PROTOCOLS[0], 1)(part)
        return [first] * times + others

    with pytest.raises(AssertionError, match="counted twice, or not at all"):
        scored(2, Pictures(6), make)
