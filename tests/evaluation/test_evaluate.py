from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pytest
import torch
from torch import Tensor, nn

from resnext.evaluation.evaluate import evaluate
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
