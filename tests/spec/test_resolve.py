from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from resnext.spec.complexity import complexity
from resnext.spec.facts import Choice, Facts
from resnext.spec.preprocessing import IMAGENET_MEAN, IMAGENET_STD
from resnext.spec.recipe import AUTO, Recipe, read_recipe
from resnext.spec.resolve import resolve
from resnext.spec.value import SpecError

OPEN = {
    "model": st.sampled_from(["resnet18", "resnext29_8x64d", "resnext50_32x4d"]),
    "epochs": st.integers(1, 500),
    "batch_size": st.integers(2, 512),
    "image.size": st.integers(32, 512),
    "image.mean": st.tuples(*[st.floats(0, 1)] * 3) | st.just(AUTO),
    "image.std": st.tuples(*[st.floats(0.01, 1)] * 3) | st.just(AUTO),
    "augmentation.crop": st.sampled_from(["random_resized", "shift", "none"]),
    "augmentation.flip": st.booleans(),
    "augmentation.max_rotation_degrees": st.floats(0, 180),
    "optimiser.learning_rate": st.floats(1e-4, 1),
    "architecture.base_channels": st.integers(1, 128),
    "architecture.base_width": st.integers(1, 128),
    "image.train_size": st.integers(1, 32) | st.just("same"),
    "augmentation.policy": st.sampled_from(["none", "trivial"]),
    "augmentation.erasing": st.floats(0, 1),
    "mixing.mixup": st.floats(0, 2),
    "mixing.cutmix": st.floats(0, 2),
    "schedule.warmup_epochs": st.floats(0, 10),
    "average_decay": st.floats(0, 0.9999),
}

FACTS = st.builds(
    Facts,
    num_images=st.integers(1, 2_000_000),
    num_classes=st.integers(2, 1_000),
    shorter_side=st.integers(1, 5_000),
    is_handwriting=st.booleans(),
    num_cores=st.integers(1, 128),
    has_gpu=st.booleans(),
    colour_mean=st.none() | st.tuples(*[st.floats(0, 1)] * 3),
    colour_std=st.none() | st.tuples(*[st.floats(0.01, 1)] * 3),
)
RECIPES = st.sampled_from(["quick", "modern"])
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


def resolved(explicit: dict[str, Any], facts: Facts, recipe: str = "quick") -> tuple[Recipe, tuple[Choice, ...]]:
    return resolve(read_recipe(recipe, nested(explicit)), facts)


@given(facts=FACTS, explicit=EXPLICIT, name=RECIPES)
def test_nothing_is_left_to_choose(facts: Facts, explicit: dict[str, Any], name: str) -> None:
    recipe, _ = resolved(explicit, facts, name)
    assert recipe.is_resolved and not says_auto(recipe.model_dump())
    assert recipe.digest()
    assert recipe.preprocessing().image_size == recipe.image.size


@given(facts=FACTS, explicit=EXPLICIT, name=RECIPES)
def test_what_the_user_says_is_never_overruled(facts: Facts, explicit: dict[str, Any], name: str) -> None:
    recipe, choices = resolved(explicit, facts, name)
    said = {key: value for key, value in explicit.items() if value != AUTO}
    assert {key: looked_up(recipe, key) for key in said} == said
    assert not {choice.field for choice in choices} & set(said)


@given(facts=FACTS, explicit=EXPLICIT, name=RECIPES)
def test_every_choice_is_what_the_recipe_then_says_and_gives_its_reason(
    facts: Facts, explicit: dict[str, Any], name: str
) -> None:
    recipe, choices = resolved(explicit, facts, name)
    fields = [choice.field for choice in choices]
    assert len(set(fields)) == len(fields)
    for choice in choices:
        assert looked_up(recipe, choice.field) == choice.value
        assert choice.why.strip() and "\n" not in choice.why


@given(facts=FACTS, explicit=EXPLICIT)
def test_the_network_has_the_classes_of_the_data(facts: Facts, explicit: dict[str, Any]) -> None:
    recipe, _ = resolved(explicit, facts)
    assert recipe.network().num_classes == facts.num_classes


@given(facts=FACTS, name=RECIPES)
def test_a_resolved_recipe_has_nothing_more_to_choose(facts: Facts, name: str) -> None:
    recipe, _ = resolved({}, facts, name)
    assert resolve(recipe, facts) == (recipe, ())


@given(facts=FACTS)
def test_the_same_facts_lead_to_the_same_recipe(facts: Facts) -> None:
    assert resolved({}, facts) == resolved({}, facts)


SOME_FACTS = Facts(num_images=500, num_classes=3, shorter_side=300, is_handwriting=False, num_cores=2, has_gpu=False)


def test_handwriting_is_never_flipped() -> None:
    for is_handwriting in (True, False):
        recipe, _ = resolved({}, replace(SOME_FACTS, is_handwriting=is_handwriting))
        assert recipe.augmentation.flip is not is_handwriting


def test_more_cores_and_a_gpu_take_on_more() -> None:
    machines = [SOME_FACTS, replace(SOME_FACTS, num_cores=64), replace(SOME_FACTS, has_gpu=True)]
    recipes = [resolved({}, facts)[0] for facts in machines]
    costs = [complexity(recipe.network(), recipe.preprocessing().image_size).macs for recipe in recipes]
    assert costs[0] < costs[1] < costs[2]


def test_colours_left_to_choose_are_what_the_data_declares_else_those_of_imagenet() -> None:
    open_colours = {"image.mean": AUTO, "image.std": AUTO}
    declaring = replace(SOME_FACTS, colour_mean=(0.1, 0.2, 0.3), colour_std=(0.4, 0.5, 0.6))
    for facts, mean, std, why in [
        (declaring, (0.1, 0.2, 0.3), (0.4, 0.5, 0.6), "declared by the data"),
        (SOME_FACTS, IMAGENET_MEAN, IMAGENET_STD, "ImageNet's, as the data declares none of its own"),
    ]:
        recipe, choices = resolved(open_colours, facts)
        assert (recipe.image.mean, recipe.image.std) == (mean, std)
        assert [choice for choice in choices if choice.field in open_colours] == [
            Choice("image.mean", mean, why),
            Choice("image.std", std, why),
        ]


def test_colours_that_the_recipe_gives_stay_whatever_the_data_declares() -> None:
    given = {"image.mean": IMAGENET_MEAN, "image.std": IMAGENET_STD}
    recipe, choices = resolved(given, replace(SOME_FACTS, colour_mean=(0.1, 0.2, 0.3), colour_std=(0.4, 0.5, 0.6)))
    assert (recipe.image.mean, recipe.image.std) == (IMAGENET_MEAN, IMAGENET_STD)
    assert not any(choice.field in {"image.mean", "image.std"} for choice in choices)


@pytest.mark.parametrize(("key", "value"), [("num_classes", 7), ("input_channels", 1)])
def test_a_network_that_does_not_fit_the_data_is_refused(key: str, value: int) -> None:
    with pytest.raises(SpecError, match=f"architecture.{key} = {value}: "):
        resolved({f"architecture.{key}": value}, SOME_FACTS)


@pytest.mark.parametrize(
    ("size", "train_size"), [(16, "same"), (32, "same"), (48, "same"), (64, 48), (128, 96), (224, 176), (50, 32)]
)
def test_training_images_are_about_a_fifth_smaller_but_for_small_ones(size: int, train_size: int | str) -> None:
    recipe, _ = resolved({"image.size": size, "image.train_size": AUTO}, SOME_FACTS)
    assert recipe.image.train_size == train_size
    seen = size if train_size == "same" else train_size
    assert (recipe.training_preprocessing().image_size, recipe.preprocessing().image_size) == (seen, size)


def test_images_of_the_test_size_are_resized_where_training_is_at_another() -> None:
    facts = replace(SOME_FACTS, shorter_side=224)
    same, smaller = ({"image.size": 224, "image.train_size": size} for size in ("same", 176))
    assert resolved(same, facts)[0].augmentation.crop == "shift"
    assert resolved(smaller, facts)[0].augmentation.crop == "random_resized"


def test_modern_is_as_long_as_quick_on_the_same_network() -> None:
    for facts in (SOME_FACTS, replace(SOME_FACTS, num_images=50_000, shorter_side=32)):
        quick, modern = (resolved({}, facts, name)[0] for name in ("quick", "modern"))
        assert (modern.epochs, modern.batch_size, modern.network()) == (quick.epochs, quick.batch_size, quick.network())


@pytest.mark.parametrize(
    ("epochs", "strengths"),
    [
        (8, ("none", 0.0, 0.0, 0.0)),
        (15, ("trivial", 0.0, 0.0, 0.0)),
        (30, ("trivial", 0.1, 0.2, 0.0)),
        (60, ("trivial", 0.1, 0.2, 1.0)),
    ],
)
def test_the_longer_a_run_the_harder_its_images(epochs: int, strengths: tuple[str, float, float, float]) -> None:
    recipe, _ = resolved({"epochs": epochs}, SOME_FACTS, "modern")
    augmentation, mixing = recipe.augmentation, recipe.mixing
    assert (augmentation.policy, augmentation.erasing, mixing.mixup, mixing.cutmix) == strengths


@pytest.mark.parametrize(("epochs", "warmup"), [(1, 0.1), (22, 2.2), (50, 5), (300, 5)])
def test_warm_up_is_a_small_part_of_the_run(epochs: int, warmup: float) -> None:
    recipe, _ = resolved({"epochs": epochs}, SOME_FACTS, "modern")
    assert recipe.schedule.warmup_epochs == warmup


@given(facts=FACTS)
def test_the_average_forgets_within_a_small_part_of_the_run(facts: Facts) -> None:
    recipe, _ = resolved({}, facts, "modern")
    assert isinstance(recipe.average_decay, float) and isinstance(recipe.epochs, int)
    assert isinstance(recipe.batch_size, int)
    num_steps = recipe.epochs * max(1, facts.num_images // recipe.batch_size)
    assert 1 / (1 - recipe.average_decay) <= max(1.001, 0.045 * num_steps)


@pytest.mark.parametrize(("num_held_out", "selection"), [(0, "last"), (49, "last"), (50, "lowest_error")])
def test_an_epoch_is_chosen_only_where_enough_images_are_held_out(num_held_out: int, selection: str) -> None:
    recipe, choices = resolved({}, replace(SOME_FACTS, num_held_out=num_held_out))
    assert recipe.selection == selection
    assert choices[-1].field == "selection"
    assert str(num_held_out) in choices[-1].why


COUNTS = {"cat": 300, "dog": 150, "emu": 50}


def test_weights_left_to_choose_make_every_class_count_alike() -> None:
    recipe, choices = resolved({"class_weights": AUTO}, replace(SOME_FACTS, class_counts=COUNTS))
    assert recipe.class_weights == {"cat": 0.555556, "dog": 1.11111, "emu": 3.33333}
    assert choices[-1] == Choice("class_weights", recipe.class_weights, "every class counts alike in all")
    assert Recipe.from_toml(recipe.to_toml()) == recipe


def test_weights_cannot_be_chosen_where_images_are_not_counted() -> None:
    with pytest.raises(SpecError, match="class_weights = 'auto': the images of each class are not counted"):
        resolved({"class_weights": AUTO}, SOME_FACTS)


def test_a_weighed_class_that_does_not_exist_is_refused_and_the_nearest_named() -> None:
    with pytest.raises(SpecError, match=r"class_weights: the data has no class 'Dog'; did you mean 'dog'\?"):
        resolve(read_recipe("quick", {"class_weights": {"Dog": 2.0}}), replace(SOME_FACTS, class_counts=COUNTS))


@pytest.mark.parametrize("name", ["quick", "modern"])
def test_what_a_recipe_chooses_is_pinned(golden: Callable[[str, str], None], name: str) -> None:
    sets = {
        "digits on 2 cores": replace(
            SOME_FACTS, num_images=1_439, num_held_out=179, shorter_side=8, is_handwriting=True
        ),
        "small photographs on 2 cores": replace(SOME_FACTS, num_images=1_646, num_held_out=208, shorter_side=100),
        "CIFAR-10 on 2 cores": replace(SOME_FACTS, num_images=50_000, num_held_out=10_000, shorter_side=32),
        "photographs on a GPU": replace(
            SOME_FACTS, num_images=20_000, num_held_out=2_000, shorter_side=375, has_gpu=True
        ),
    }
    lines: list[str] = []
    for title, facts in sets.items():
        recipe, choices = resolved({}, facts, name)
        lines += [title, f"  digest {recipe.digest()}"]
        lines += [f"  {choice.field} = {choice.value}: {choice.why}" for choice in choices]
    golden(f"{name}.txt", "\n".join(lines) + "\n")
