import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import minimize_scalar
from torch import Tensor

from resnext.evaluation.calibration import (
    COLDEST,
    HOTTEST,
    ece_percent,
    fit_temperature,
    reliability,
)
from resnext.evaluation.outputs import Outputs

seeds = st.integers(0, 10**6)


def outputs(logits: Tensor, labels: Tensor) -> Outputs:
    return Outputs(logits, labels, tuple(str(index) for index in range(len(labels))))


def calibrated(seed: int, num_images: int, num_classes: int = 5, spread: float = 2.0) -> Outputs:
    """Draw logits, and labels from the very probabilities that these stand for."""
    generator = torch.Generator().manual_seed(seed)
    logits = spread * torch.randn(num_images, num_classes, generator=generator)
    labels = torch.multinomial(logits.double().softmax(dim=1), 1, generator=generator)[:, 0]
    return outputs(logits, labels)


def certain(probabilities: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Return how sure answers are, and which are right."""
    confidences, said = probabilities.double().max(dim=1)
    return confidences, said == labels


def loss(temperature: float, found: Outputs) -> float:
    """Return the cross-entropy to Platt's targets, written as label smoothing, which a label has its share in too."""
    num_images, num_classes = found.logits.shape
    smoothing = num_classes / (num_classes - 1) / (num_images + 2)
    return float(F.cross_entropy(found.logits.double() / temperature, found.labels, label_smoothing=smoothing))


@given(seed=seeds)
def test_probabilities_that_mean_what_they_say_are_left_nearly_as_they_are(seed: int) -> None:
    assert fit_temperature(calibrated(seed, 4000)) == pytest.approx(1, abs=0.1)


@given(seed=seeds, scale=st.floats(0.2, 5))
def test_logits_scaled_by_a_number_have_a_temperature_scaled_by_it(seed: int, scale: float) -> None:
    found = calibrated(seed, 200)
    scaled = outputs(found.logits.double() * scale, found.labels)
    assert fit_temperature(scaled) == pytest.approx(scale * fit_temperature(found), rel=1e-9)


@given(seed=seeds, num_images=st.integers(5, 80), spread=st.floats(0.5, 10))
def test_no_other_temperature_has_a_lower_cross_entropy(seed: int, num_images: int, spread: float) -> None:
    found = calibrated(seed, num_images, spread=spread)
    found = outputs(found.logits * 3, found.labels)
    temperature = fit_temperature(found)
    searched = minimize_scalar(
        lambda inverse: loss(1 / inverse, found), bounds=(1 / HOTTEST, 1 / COLDEST), method="bounded"
    )
    assert loss(temperature, found) <= searched.fun + 1e-12


@given(seed=seeds, shift=st.floats(-50, 50))
def test_a_constant_added_to_all_logits_changes_nothing(seed: int, shift: float) -> None:
    found = calibrated(seed, 50)
    shifted = outputs(found.logits.double() + shift, found.labels)
    assert fit_temperature(shifted) == pytest.approx(fit_temperature(found), rel=1e-6)


def test_many_images_are_taken_in_parts_with_the_same_result(monkeypatch: pytest.MonkeyPatch) -> None:
    found = calibrated(0, 3000)
    whole = fit_temperature(found)
    monkeypatch.setattr("resnext.evaluation.calibration._ROWS_AT_ONCE", 700)
    assert fit_temperature(found) == pytest.approx(whole, rel=1e-9)


def two_levels(num_images: int, num_right: int, num_classes: int, margin: float = 3.0) -> Outputs:
    """Make answers that are all as sure, with the other classes alike."""
    labels = torch.arange(num_images) % num_classes
    said = torch.where(torch.arange(num_images) < num_right, labels, (labels + 1) % num_classes)
    return outputs(margin * F.one_hot(said, num_classes).float(), labels)


@given(num_images=st.integers(1, 300), num_classes=st.integers(2, 30))
def test_answers_that_are_all_right_get_the_probability_that_the_next_is_right(
    num_images: int, num_classes: int
) -> None:
    found = two_levels(num_images, num_images, num_classes)
    temperature = fit_temperature(found)
    confidence = (found.logits.double() / temperature).softmax(dim=1).amax(dim=1)
    assert COLDEST < temperature < HOTTEST
    assert confidence.tolist() == pytest.approx([(num_images + 1) / (num_images + 2)] * num_images, rel=1e-6)


def test_what_is_imagined_fades_as_images_become_more() -> None:
    """The accuracy is 0.9, and of n images with two classes the probability is 0.9 less 0.8 / (n + 2)."""
    for num_images in (10, 100, 10_000):
        found = two_levels(num_images, num_images * 9 // 10, num_classes=2)
        confidence = (found.logits.double() / fit_temperature(found)).softmax(dim=1).amax()
        assert 0.9 - float(confidence) == pytest.approx(0.8 / (num_images + 2), rel=1e-4)


def test_answers_worse_than_chance_are_made_as_unsure_as_may_be() -> None:
    logits = calibrated(1, 30).logits
    assert fit_temperature(outputs(logits, logits.argmin(1))) == HOTTEST


def test_answers_so_timid_that_no_allowed_temperature_is_cold_enough_get_the_coldest() -> None:
    assert fit_temperature(two_levels(30, 30, num_classes=3, margin=0.01)) == COLDEST


def test_logits_that_say_nothing_are_left_as_they_are() -> None:
    assert fit_temperature(outputs(torch.full((4, 3), 2.0), torch.tensor([0, 1, 2, 2]))) == 1
    assert fit_temperature(outputs(torch.randn(4, 1), torch.zeros(4, dtype=torch.int64))) == 1


def test_no_images_have_no_temperature_and_no_error() -> None:
    with pytest.raises(ValueError, match="no images"):
        fit_temperature(outputs(torch.zeros(0, 3), torch.zeros(0, dtype=torch.int64)))
    with pytest.raises(ValueError, match="no images"):
        ece_percent(torch.zeros(0), torch.zeros(0, dtype=torch.bool))


@given(seed=seeds, num_images=st.integers(1, 60), num_bins=st.integers(1, 20))
def test_every_answer_is_in_the_bin_of_its_confidence(seed: int, num_images: int, num_bins: int) -> None:
    found = calibrated(seed, num_images)
    probabilities = found.logits.double().softmax(dim=1)
    confidences, said = probabilities.max(dim=1)
    rows = reliability(*certain(probabilities, found.labels), num_bins)
    assert [row.low for row in rows] == [index / num_bins for index in range(num_bins)]
    assert [row.high for row in rows[:-1]] == [row.low for row in rows[1:]]
    assert rows[-1].high == 1
    for row in rows:
        inside = (confidences > row.low) & (confidences <= row.high)
        assert row.num_images == int(inside.sum())
        if row.num_images:
            assert row.mean_confidence == pytest.approx(float(confidences[inside].mean()), rel=1e-12)
            assert row.accuracy == pytest.approx(float((said == found.labels)[inside].double().mean()), rel=1e-12)
        else:
            assert (row.mean_confidence, row.accuracy) == (None, None)


def test_certainty_belongs_to_the_last_bin_and_nothing_to_a_bin_outside() -> None:
    rows = reliability(torch.tensor([1.0, 1.0, 0.5]), torch.tensor([True, False, True]), num_bins=2)
    assert [(row.num_images, row.mean_confidence, row.accuracy) for row in rows] == [(1, 0.5, 1.0), (2, 1.0, 0.5)]


def test_the_calibration_error_is_the_mean_gap_weighted_by_images() -> None:
    probabilities = torch.tensor([[0.9, 0.1], [0.9, 0.1], [0.9, 0.1], [0.6, 0.4]])
    assert ece_percent(*certain(probabilities, torch.tensor([0, 0, 1, 1]))) == pytest.approx(
        100 * (3 * abs(0.9 - 2 / 3) + abs(0.6 - 0)) / 4, rel=1e-6
    )


@given(seed=seeds, num_bins=st.integers(1, 20))
def test_one_bin_has_the_least_error_and_none_is_beyond_its_limits(seed: int, num_bins: int) -> None:
    found = calibrated(seed, 40)
    probabilities = found.logits.double().softmax(dim=1)
    assert (
        0
        <= ece_percent(*certain(probabilities, found.labels), 1)
        <= ece_percent(*certain(probabilities, found.labels), num_bins) + 1e-9
        <= 100
    )


def test_the_error_of_perfect_calibration_vanishes_with_the_square_root_of_the_number_of_images() -> None:
    def mean_error(number: int) -> float:
        drawn = [calibrated(seed, number) for seed in range(20)]
        return sum(ece_percent(*certain(one.logits.double().softmax(dim=1), one.labels)) for one in drawn) / 20

    few, many = mean_error(200), mean_error(20_000)
    assert few > 3
    assert few / many == pytest.approx(math.sqrt(100), rel=0.4)


def test_a_temperature_lowers_the_error_of_images_that_it_was_not_fitted_on() -> None:
    for seed in range(5):
        found = calibrated(seed, 4000)
        sure = 2.5 * found.logits.double()
        temperature = fit_temperature(outputs(sure[:2000], found.labels[:2000]))
        before, after = (
            ece_percent(*certain((sure[2000:] / divisor).softmax(dim=1), found.labels[2000:]))
            for divisor in (1.0, temperature)
        )
        assert after < before / 3


def test_a_bin_less_request_is_refused() -> None:
    with pytest.raises(ValueError, match="num_bins = 0"):
        reliability(torch.ones(1), torch.ones(1, dtype=torch.bool), num_bins=0)
