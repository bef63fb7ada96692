import math
from statistics import fmean, stdev

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from resnext.evaluation.estimate import Estimate
from resnext.study.design import Contrast
from resnext.study.verdict import judge

DIFFERENCE = Contrast(name="b against a", weights={"b": 1.0, "a": -1.0})
A = {0: 20.0, 1: 21.0, 2: 20.5}


def below(*by):
    return {"a": A, "b": {seed: A[seed] - distance for seed, distance in enumerate(by)}}


def test_a_fall_in_every_seed_supports_the_paper():
    judged = judge([DIFFERENCE], (), below(1.0, 1.1, 0.9))
    assert judged.verdict == "supports"
    assert judged.seeds_needed is None


def test_a_rise_in_every_seed_contradicts_it():
    assert judge([DIFFERENCE], (), below(-1.0, -1.1, -0.9)).verdict == "contradicts"


def test_seeds_that_disagree_are_inconclusive_and_more_would_be_needed():
    judged = judge([DIFFERENCE], (), below(1.0, -0.6, 0.5))
    assert judged.verdict == "inconclusive"
    needed = judged.seeds_needed
    assert needed is not None
    spread, mean = stdev([1.0, -0.6, 0.5]), fmean([1.0, -0.6, 0.5])

    def half_width(seeds):
        return stats.t.ppf(0.975, seeds - 1) * spread / math.sqrt(seeds)

    assert half_width(needed) < mean <= half_width(needed - 1)


def test_the_interval_is_students_of_differences_within_a_seed():
    [finding] = judge([DIFFERENCE], (), below(1.0, 2.0, 1.6)).findings
    low, high = stats.t.interval(0.95, 2, loc=-fmean([1, 2, 1.6]), scale=stdev([1, 2, 1.6]) / math.sqrt(3))
    assert finding.estimate is not None
    assert finding.estimate.mean == pytest.approx((low + high) / 2)
    assert finding.estimate.half_width == pytest.approx((high - low) / 2)


@pytest.mark.parametrize("figures", [{}, {"a": A}, {"a": {0: 1.0}, "b": {1: 1.0}}, below(1.0)])
def test_one_seed_or_none_decides_nothing(figures):
    judged = judge([DIFFERENCE], (), figures)
    assert judged.verdict == "inconclusive"
    assert judged.seeds_needed is None


def test_seeds_that_agree_to_the_last_digit_have_no_spread_to_judge_by():
    judged = judge([DIFFERENCE], (), {"a": {0: 20.0, 1: 20.0}, "b": {0: 19.0, 1: 19.0}})
    assert judged.verdict == "inconclusive"
    assert judged.findings[0].estimate == Estimate(-1.0, None, 2)


def test_only_seeds_that_every_setting_has_are_paired():
    figures = {"a": {0: 20.0, 1: 21.0, 2: 90.0}, "b": {0: 19.0, 1: 19.8}}
    [finding] = judge([DIFFERENCE], (), figures).findings
    assert finding.estimate is not None
    assert finding.estimate.num_values == 2


def test_all_that_decide_must_support_and_one_that_contradicts_is_enough():
    other = Contrast(name="c against a", weights={"c": 1.0, "a": -1.0})
    falls, rises = below(1.0, 1.1, 0.9), {"c": {seed: value + 1 + seed / 10 for seed, value in A.items()}}
    unclear = {"c": {0: 19.0, 1: 22.0, 2: 20.0}}
    assert judge([DIFFERENCE, other], (), {**falls, **unclear}).verdict == "inconclusive"
    assert judge([DIFFERENCE, other], (), {**falls, **rises}).verdict == "contradicts"


def test_what_does_not_decide_or_was_not_claimed_makes_no_verdict():
    silent = DIFFERENCE.replace(decides=False)
    unclaimed = DIFFERENCE.replace(expects=None)
    assert judge([silent], (), below(1.0, 1.1, 0.9)).verdict == "inconclusive"
    judged = judge([unclaimed], (), below(1.0, 1.1, 0.9))
    assert (judged.verdict, judged.findings[0].verdict) == ("inconclusive", None)


@pytest.mark.parametrize(("by", "verdict"), [(0.2, "supports"), (0.7, "contradicts")])
def test_equal_to_the_last_digit_is_the_same_within_the_margin(by, verdict):
    alike = {"a": {0: 20.0, 1: 20.0}, "b": {0: 20.0 - by, 1: 20.0 - by}}
    assert judge([DIFFERENCE.replace(expects="same")], (), alike).verdict == verdict


@pytest.mark.parametrize(
    ("by", "verdict"),
    [((0.01, -0.01, 0.02), "supports"), ((5.0, 5.1, 4.9), "contradicts"), ((1.0, -1.0, 0.5), "inconclusive")],
)
def test_the_same_means_within_half_a_point(by, verdict):
    assert judge([DIFFERENCE.replace(expects="same")], (), below(*by)).verdict == verdict


def test_pages_test_sees_a_monotone_fall():
    order = ("a", "b", "c", "d")
    falls = {name: {seed: 20.0 - place + seed for seed in range(3)} for place, name in enumerate(order)}
    rises = dict(zip(reversed(order), falls.values(), strict=True))
    low, high = (judge([], order, figures).page_p for figures in (falls, rises))
    assert low is not None
    assert high is not None
    assert low < 0.01
    assert high > 0.9
    assert judge([], order, {**falls, "c": {}}).page_p is None


@given(st.lists(st.floats(-5, 5), min_size=2, max_size=8))
def test_a_verdict_turns_with_the_sign(distances):
    seeds = dict(enumerate(distances))
    zero = dict.fromkeys(seeds, 0.0)
    opposite = {"supports": "contradicts", "contradicts": "supports", "inconclusive": "inconclusive"}
    one = judge([DIFFERENCE], (), {"a": zero, "b": seeds}).verdict
    assert judge([DIFFERENCE], (), {"a": seeds, "b": zero}).verdict == opposite[one]
