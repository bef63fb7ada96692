import pytest

from resnext.report.words import duration, percent


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0.04, "0.0 s"),
        (59.9, "59.9 s"),
        (59.97, "1 min 0 s"),
        (61, "1 min 1 s"),
        (119.8, "2 min 0 s"),
        (3599.7, "1 h 0 min"),
        (90_061, "25 h 1 min"),
    ],
)
def test_times_are_read_at_a_glance(seconds: float, words: str) -> None:
    assert duration(seconds) == words


@pytest.mark.parametrize(("value", "words"), [(None, "-"), (0, "0.00"), (12.345, "12.35"), (100.0, "100.00")])
def test_percentages_have_two_digits_and_none_is_a_dash(value: float | None, words: str) -> None:
    assert percent(value) == words
