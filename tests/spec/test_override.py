from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from resnext.spec.override import parse_overrides
from resnext.spec.recipe import read_recipe
from resnext.spec.value import SpecError


@pytest.mark.parametrize(
    ("assignment", "expected"),
    [
        ("epochs=20", {"epochs": 20}),
        ("label_smoothing=0.25", {"label_smoothing": 0.25}),
        ("optimiser.weight_decay=5e-4", {"optimiser": {"weight_decay": 5e-4}}),
        ("augmentation.flip=true", {"augmentation": {"flip": True}}),
        ("optimiser.nesterov=false", {"optimiser": {"nesterov": False}}),
        ("schedule.milestones=[30, 60]", {"schedule": {"milestones": [30, 60]}}),
        ("image.mean=[0.5, 0.5, 0.5]", {"image": {"mean": [0.5, 0.5, 0.5]}}),
        ("model=resnext29_8x64d", {"model": "resnext29_8x64d"}),
        ('model="resnet18"', {"model": "resnet18"}),
        ("epochs=auto", {"epochs": "auto"}),
        (" image.size = 64 ", {"image": {"size": 64}}),
        ("name=a=b", {"name": "a=b"}),
        ("name=", {"name": ""}),
        ("architecture.base_width=4", {"architecture": {"base_width": 4}}),
        ("architecture.stage_depths=[1, 2]", {"architecture": {"stage_depths": [1, 2]}}),
    ],
)
def test_a_value_has_the_type_that_toml_gives_it(assignment: str, expected: dict[str, Any]) -> None:
    parsed = parse_overrides([assignment])
    assert parsed == expected
    assert repr(parsed) == repr(expected)  # 1, 1.0 and True are equal, and must not be mixed up


@given(value=st.integers() | st.floats(allow_nan=False) | st.booleans())
def test_numbers_and_truth_values_are_read_back_as_they_were_written(value: float) -> None:
    text = str(value).lower()
    assert repr(parse_overrides([f"label_smoothing={text}"])["label_smoothing"]) == repr(value)


def test_several_keys_share_their_table_and_the_last_of_a_key_counts() -> None:
    assignments = ["image.size=64", "epochs=3", "image.interpolation=bilinear", "epochs=4"]
    assert parse_overrides(assignments) == {"image": {"size": 64, "interpolation": "bilinear"}, "epochs": 4}


def test_no_assignment_changes_nothing() -> None:
    assert parse_overrides([]) == {}
    assert read_recipe("quick", {}) == read_recipe("quick")


@pytest.mark.parametrize(
    ("key", "nearest"),
    [
        ("epoch", "epochs"),
        ("batchsize", "batch_size"),
        ("learning_rate", "optimiser.learning_rate"),
        ("optimizer.learning_rate", "optimiser.learning_rate"),
        ("optimiser.learning_rte", "optimiser.learning_rate"),
        ("size", "image.size"),
        ("architecture.base_with", "architecture.base_width"),
    ],
)
def test_an_unknown_key_is_refused_with_the_nearest_name(key: str, nearest: str) -> None:
    with pytest.raises(SpecError) as caught:
        parse_overrides([f"{key}=1"])
    assert str(caught.value) == f"unknown key {key!r}; did you mean {nearest!r}?"


def test_a_key_like_no_other_is_refused_with_all_there_are() -> None:
    with pytest.raises(
        SpecError, match=r"unknown key 'zzzz'; the keys are .*class_weights, epochs.*optimiser\.momentum"
    ):
        parse_overrides(["zzzz=1"])


@pytest.mark.parametrize("table", ["image", "architecture", "optimiser", ""])
def test_a_whole_table_is_not_a_key(table: str) -> None:
    with pytest.raises(SpecError, match="unknown key"):
        parse_overrides([f"{table}=1"])


def test_an_assignment_without_an_equals_sign_is_refused_with_an_example() -> None:
    with pytest.raises(SpecError, match=r"'epochs': write key=value, for example epochs=20"):
        parse_overrides(["epochs"])


@pytest.mark.parametrize(
    ("assignments", "said"),
    [
        (["epochs=many"], ["epochs", "'many'"]),
        (["epochs=1979-05-27"], ["epochs"]),
        (["augmentation.flip=perhaps"], ["flip", "'perhaps'"]),
        (["model=resnext29_8x64d", "architecture.base_width=wide"], ["base_width = 'wide'", "valid integer"]),
        (["model=resnet18", "architecture.cardinality=32"], ["cardinality = 32", "basic block"]),
        (["model=resnet18", "architecture.shortcut=D"], ["shortcut = 'D'", "'A', 'B', 'C' or 'none'"]),
    ],
)
def test_a_value_of_the_wrong_type_is_refused_where_it_meets_the_recipe(
    assignments: list[str], said: list[str]
) -> None:
    with pytest.raises(SpecError) as caught:
        read_recipe("quick", parse_overrides(assignments))
    assert all(part in str(caught.value) for part in said), caught.value


def test_a_departure_from_the_model_reaches_the_network() -> None:
    recipe = read_recipe("quick", parse_overrides(["model=resnext29_8x64d", "architecture.stage_depths=[1, 2]"]))
    assert recipe.network().stage_depths == (1, 2)
