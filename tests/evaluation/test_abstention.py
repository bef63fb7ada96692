import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest
from torch import Tensor

from resnext.evaluation.abstention import Abstention, answers_at, threshold_for

precisions = st.floats(0.05, 0.999)
answers = st.lists(st.tuples(st.integers(1, 40), st.booleans()), min_size=1, max_size=40)


def tensors(pairs: list[tuple[int, bool]]) -> tuple[Tensor, Tensor]:
    """Return probabilities, many of them equal, and which answers are right."""
    return torch.tensor([place / 40 for place, _ in pairs], dtype=torch.float64), torch.tensor([r for _, r in pairs])


def precision_at(threshold: float, probabilities: Tensor, is_right: Tensor) -> float:
    said = is_right[probabilities >= threshold]
    return int(said.sum()) / len(said)


@given(pairs=answers, precision=precisions)
def test_the_threshold_is_the_lowest_that_has_the_precision_or_else_that_of_the_highest_precision(
    pairs: list[tuple[int, bool]], precision: float
) -> None:
    probabilities, is_right = tensors(pairs)
    found = threshold_for(precision, probabilities, is_right)
    possible = {level: precision_at(level, probabilities, is_right) for level in sorted({*probabilities.tolist()})}
    reaching = [level for level, reached in possible.items() if reached >= min(precision, max(possible.values()))]
    answered = probabilities >= reaching[0]
    assert (found.num_images, found.num_answered) == (len(pairs), int(answered.sum()))
    assert found.num_right == int(is_right[answered].sum())
    assert found.reaches(precision) == (max(possible.values()) >= precision)
    assert found == answers_at(found.threshold, probabilities, is_right)


@given(pairs=answers, precision=precisions)
def test_the_threshold_has_no_more_digits_than_it_needs(pairs: list[tuple[int, bool]], precision: float) -> None:
    probabilities, is_right = tensors(pairs)
    found = threshold_for(precision, probabilities, is_right)
    answered = probabilities[probabilities >= found.threshold]
    others = probabilities[probabilities < found.threshold]
    assert found.threshold <= float(answered.min())
    assert len(others) == 0 or float(others.max()) < found.threshold
    for digits in range(len(f"{found.threshold:.15g}".partition(".")[2])):
        shorter = round(np.floor(float(answered.min()) * 10**digits) / 10**digits, digits)
        assert shorter == 1 or (len(others) > 0 and shorter <= float(others.max()))


def test_a_threshold_below_certainty_is_taken_where_there_is_one() -> None:
    probabilities = torch.tensor([1.0, 1.0, 0.9], dtype=torch.float64)
    assert threshold_for(0.99, probabilities, torch.tensor([True, True, False])).threshold == 0.99


@given(pairs=answers)
def test_more_precision_is_never_had_for_more_answers(pairs: list[tuple[int, bool]]) -> None:
    probabilities, is_right = tensors(pairs)
    found = [threshold_for(precision, probabilities, is_right) for precision in (0.5, 0.8, 0.95, 0.99)]
    assert [one.num_answered for one in found] == sorted((one.num_answered for one in found), reverse=True)


def test_where_all_answers_are_right_often_enough_the_threshold_is_zero() -> None:
    found = threshold_for(0.75, torch.tensor([0.3, 0.4, 0.5, 0.9]), torch.tensor([True, False, True, True]))
    assert (found.threshold, found.num_answered, found.coverage_percent, found.precision_percent) == (0, 4, 100, 75)


def test_equal_probabilities_are_answered_together() -> None:
    probabilities, is_right = torch.tensor([0.9, 0.9, 0.9, 0.2]), torch.tensor([True, True, False, False])
    found = threshold_for(0.99, probabilities, is_right)
    assert (found.num_answered, found.num_right, found.reaches(0.99)) == (3, 2, False)


def test_answers_that_are_all_wrong_reach_nothing() -> None:
    found = threshold_for(0.9, torch.tensor([0.6, 0.8]), torch.tensor([False, False]))
    assert (found.precision_percent, found.reaches(0.9)) == (0, False)


def test_probabilities_that_differ_in_their_last_digit_are_told_apart() -> None:
    almost = 1 - 2**-52
    probabilities = torch.tensor([1.0, almost, 0.5], dtype=torch.float64)
    found = threshold_for(0.9, probabilities, torch.tensor([True, False, False]))
    assert (found.num_answered, found.num_right) == (1, 1)


@pytest.mark.parametrize("precision", [0.0, 1.0, -0.1, 99.0, float("nan")])
def test_a_precision_that_is_none_is_refused(precision: float) -> None:
    with pytest.raises(ValueError, match="between 0 and 1"):
        threshold_for(precision, torch.tensor([0.5]), torch.tensor([True]))


def test_no_images_have_no_threshold() -> None:
    none = torch.zeros(0)
    with pytest.raises(ValueError, match="no images"):
        threshold_for(0.9, none, none.bool())
    with pytest.raises(ValueError, match="no images"):
        answers_at(0.9, none, none.bool())


@given(num_answered=st.integers(1, 300), wrong=st.integers(0, 300))
def test_the_interval_is_scipys_exact_one(num_answered: int, wrong: int) -> None:
    num_right = max(0, num_answered - wrong)
    found = Abstention(threshold=0.5, num_images=400, num_answered=num_answered, num_right=num_right)
    expected = binomtest(num_right, num_answered).proportion_ci(method="exact")
    assert found.interval_percent == pytest.approx((100 * expected.low, 100 * expected.high), rel=1e-9)


def test_of_no_answers_nothing_is_known() -> None:
    found = answers_at(0.9, torch.tensor([0.5]), torch.tensor([True]))
    assert (found.precision_percent, found.interval_percent, found.coverage_percent) == (None, (0, 100), 0)
    assert not found.reaches(0.5)


@pytest.mark.parametrize("num_images", [200, 1000])
@pytest.mark.parametrize("precision", [0.95, 0.98, 0.99])
def test_the_interval_holds_the_precision_of_images_that_the_threshold_was_not_found_on(
    num_images: int, precision: float
) -> None:
    # The figure is the highest of many and half of the time the truth is below it; the interval must bear that.
    rng = np.random.default_rng(0)
    everyone = 0.1 + 0.9 * rng.beta(6, 0.6, 100_000)
    num_held = num_below = 0
    for _ in range(200):
        probabilities = torch.from_numpy(0.1 + 0.9 * rng.beta(6, 0.6, num_images))
        is_right = torch.from_numpy(rng.random(num_images)) < probabilities
        found = threshold_for(precision, probabilities, is_right)
        true = 100 * everyone[everyone >= found.threshold].mean()
        low, high = found.interval_percent
        num_held += bool(low <= true <= high)
        num_below += bool(true < 100 * precision)
    assert num_held >= 0.95 * 200
    assert num_below >= 0.35 * 200
