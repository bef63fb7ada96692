from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from resnext.evaluation.evaluate import count, evaluate, mean_over_views
from resnext.evaluation.metrics import Counts, Scores

NAMES = ["ant", "bee", "cat"]


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
