import math
from statistics import fmean, stdev

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from resnext.evaluation.estimate import estimate


def test_the_interval_is_students():
    values = [22.0, 23.5, 22.4, 23.1]
    found = estimate(values)
    low, high = stats.t.interval(0.95, 3, loc=fmean(values), scale=stdev(values) / math.sqrt(4))
    assert found.half_width is not None
    assert (found.mean - found.half_width, found.mean + found.half_width) == pytest.approx((low, high))
    assert found.num_values == 4


@pytest.mark.parametrize("values", [[1.0], [2.0, 2.0]])
def test_one_value_or_equal_ones_have_no_spread(values):
    assert estimate(values).half_width is None


@given(st.lists(st.floats(-100, 100), min_size=2, max_size=10), st.floats(-100, 100))
def test_the_interval_moves_with_the_values(values, by):
    one, other = estimate(values), estimate([value + by for value in values])
    assert other.mean == pytest.approx(one.mean + by, abs=1e-9)
    if one.half_width and other.half_width:
        assert other.half_width == pytest.approx(one.half_width, rel=1e-6, abs=1e-9)
