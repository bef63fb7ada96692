from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from resnext.spec.recipe import AUTO, Recipe, read_recipe
from resnext.spec.resolve import Choice, Facts, resolve

OPEN = {
    "model": st.sampled_from(["resnet18", "resnext29_8x64d", "resnext50_32x4d"]),
    "epochs": st.integers(1, 500),
    "batch_size": st.integers(1, 512),
    "image.size": st.integers(32, 512),
    "augmentation.crop": st.sampled_from(["random_resized", "shift", "none"]),
    "augmentation.flip": st.booleans(),
    "augmentation.max_rotation_degrees": st.floats(0, 180),
    "optimiser.learning_rate": st.floats(1e-4, 1),
    "architecture.base_channels": st.integers(1, 128),
    "architecture.base_width": st.integers(1, 128),
}

FACTS = st.builds(
    Facts,
    num_images=st.integers(1, 2_000_000),
    num_classes=st.integers(2, 1_000),
    shorter_side=st.integers(1, 5_000),
    is_mirrored_alike=st.booleans(),
    num_cores=st.integers(1, 128),
    has_gpu=st.booleans(),
)
EXPLICIT = st.fixed_dictionaries({}, optional=OPEN)


def nested(fields: dict[str, Any]) -> dict[str, Any]:
    result: dict[str, Any] = {}
    for key, value in fields.items():
        table, _, leaf = key.rpartition(".")
        (result.setdefault(table, {}) if table else result)[leaf] = value
    return result


def looked_up(recipe: Recipe, key: str) -> Any:
    value: Any = recipe.model_dump()
    for part in key.split("."):
        value = value[part]
    return value


def says_auto(value: Any) -> bool:
    return any(says_auto(inner) for inner in value.values()) if isinstance(value, dict) else value == AUTO


def resolved(explicit: dict[str, Any], facts: Facts) -> tuple[Recipe, tuple[Choice, ...]]:
    return resolve(read_recipe("quick", nested(explicit)), facts)


@given(facts=FACTS, explicit=EXPLICIT)
def test_nothing_is_left_to_choose(facts: Facts, explicit: dict[str, Any]) -> None:
    recipe, _ = resolved(explicit, facts)
    assert recipe.is_resolved and not says_auto(recipe.model_dump())
    assert recipe.digest()
    assert recipe.preprocessing().image_size == recipe.image.size


@given(facts=FACTS, explicit=EXPLICIT)
def test_what_the_user_says_is_never_overruled(facts: Facts, explicit: dict[str, Any]) -> None:
    recipe, choices = resolved(explicit, facts)
    assert {key: looked_up(recipe, key) for key in explicit} == explicit
    assert not {choice.field for choice in choices} & set(explicit)


@given(facts=FACTS, explicit=EXPLICIT)
def test_every_choice_is_what_the_recipe_then_says_and_gives_its_reason(facts: Facts, explicit: dict[str, Any]) -> None:
    recipe, choices = resolved(explicit, facts)
    fields = [choice.field for choice in choices]
    assert len(set(fields)) == len(fields)
    for choice in choices:
        assert looked_up(recipe, choice.field) == choice.value
        assert choice.why.strip() and "\n" not in choice.why


@given(facts=FACTS, explicit=EXPLICIT)
def test_the_network_has_the_classes_of_the_data(facts: Facts, explicit: dict[str, Any]) -> None:
    recipe, _ = resolved({**explicit, "architecture.num_classes": 7}, facts)
    assert recipe.network().num_classes == facts.num_classes


@given(facts=FACTS)
def test_a_resolved_recipe_has_nothing_more_to_choose(facts: Facts) -> None:
    recipe, _ = resolved({}, facts)
    assert resolve(recipe, facts) == (recipe, ())


@given(facts=FACTS)
def test_the_same_facts_lead_to_the_same_recipe(facts: Facts) -> None:
    assert resolved({}, facts) == resolved({}, facts)


@pytest.mark.parametrize("is_mirrored_alike", [True, False])
def test_images_are_flipped_only_where_a_mirrored_one_keeps_its_class(is_mirrored_alike: bool) -> None:
    facts = Facts(
        num_images=500,
        num_classes=3,
        shorter_side=64,
        is_mirrored_alike=is_mirrored_alike,
        num_cores=2,
        has_gpu=False,
    )
    recipe, _ = resolved({}, facts)
    assert recipe.augmentation.flip is is_mirrored_alike
