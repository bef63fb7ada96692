import pytest
from hypothesis import given
from hypothesis import strategies as st

from resnext.spec.balance import balancing_weights, check_class_names
from resnext.spec.value import SpecError

COUNTS = st.dictionaries(st.text(min_size=1), st.integers(0, 10**6), max_size=20)


@given(counts=COUNTS)
def test_every_class_counts_alike_and_an_image_one_on_average(counts: dict[str, int]) -> None:
    weights = balancing_weights(counts)
    assert weights.keys() == {name for name, count in counts.items() if count}
    totals = [weights[name] * counts[name] for name in weights]
    assert totals == pytest.approx([sum(counts.values()) / max(1, len(totals))] * len(totals), rel=1e-5)


@given(counts=COUNTS)
def test_weights_have_at_most_six_digits(counts: dict[str, int]) -> None:
    for weight in balancing_weights(counts).values():
        assert weight == float(f"{weight:.6g}")


@pytest.mark.parametrize(
    ("name", "advice"),
    [("Rose", "did you mean 'rose'?"), ("tulp", "did you mean 'Tulip'?"), ("x", "there are rose, Tulip")],
)
def test_a_class_that_does_not_exist_is_answered_with_the_nearest(name: str, advice: str) -> None:
    with pytest.raises(SpecError) as caught:
        check_class_names({"rose": 1.0, name: 2.0}, ["rose", "Tulip"])
    assert str(caught.value) == f"class_weights: the data has no class {name!r}; {advice}"


def test_of_many_classes_a_few_are_listed() -> None:
    with pytest.raises(SpecError, match=r"no class 'x'; there are 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, \.\.\.$"):
        check_class_names(["x"], map(str, range(1_000)))


def test_classes_that_exist_need_not_all_be_weighed() -> None:
    check_class_names(["rose"], ["rose", "Tulip"])
    check_class_names(None, ["rose"])
