from dataclasses import dataclass

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from resnext.evaluation.answers import Answers, answers_of, count_and_keep
from resnext.evaluation.calibration import ece_percent
from resnext.evaluation.evaluate import count
from resnext.evaluation.outputs import Outputs


@dataclass(frozen=True)
class Batch:
    pixels: Tensor
    labels: Tensor


def drawn(seed: int, number: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return 3 * torch.randn(number, 4, generator=generator), torch.randint(4, (number,), generator=generator)


@given(seed=st.integers(0, 10**6), number=st.integers(1, 50), size=st.integers(1, 20), temperature=st.floats(0.1, 9))
def test_errors_and_counts_are_those_of_all_logits_however_they_are_batched(
    seed: int, number: int, size: int, temperature: float
) -> None:
    logits, labels = drawn(seed, number)
    batches = [Batch(*pair) for pair in zip(logits.split(size), labels.split(size), strict=True)]
    counts, answers = count_and_keep(lambda pixels: pixels, batches, 4, temperature)
    assert torch.equal(counts.confusion, count(lambda pixels: pixels, batches, 4).confusion)
    calibrated, raw = ((logits.double() / divisor).softmax(dim=1) for divisor in (temperature, 1.0))
    assert answers.ece_percent == pytest.approx(ece_percent(calibrated.amax(dim=1), answers.is_right), rel=1e-9)
    assert answers.raw_ece_percent == pytest.approx(ece_percent(raw.amax(dim=1), answers.is_right), rel=1e-9)
    assert torch.equal(answers.is_right, logits.argmax(dim=1) == labels)
    assert int(answers.is_right.sum()) == int(counts.confusion.diagonal().sum())


def test_the_answers_of_outputs_are_those_of_their_logits_whatever_their_number() -> None:
    logits, labels = drawn(3, 5000)
    answers = answers_of(Outputs(logits, labels, ("name",) * 5000), 0.7)
    whole = Answers.of(logits, labels, 0.7)
    torch.testing.assert_close(answers.probabilities, whole.probabilities, rtol=1e-12, atol=0)
    assert torch.equal(answers.is_right, whole.is_right)


def test_no_images_have_no_answers() -> None:
    counts, answers = count_and_keep(lambda pixels: pixels, [], 4, 1.0)
    assert (counts.num_images, len(answers.is_right), len(answers.probabilities)) == (0, 0, 0)
    assert len(Answers.joined([answers, answers]).raw_probabilities) == 0
