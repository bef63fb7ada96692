from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from resnext.spec.recipe import AUTO, Augmentation, ImageRecipe, Optimiser, Recipe, Schedule, read_recipe
from resnext.spec.value import SpecError

RESOLVED: dict[str, Any] = {
    "name": "mine",
    "model": "resnext29_8x64d",
    "architecture": {"num_classes": 4},
    "epochs": 3,
    "batch_size": 16,
    "image": {"size": 32},
    "augmentation": {"crop": "shift", "flip": False},
    "optimiser": {"learning_rate": 0.1},
}

# Another value for every field that may change the accuracy of a run.
OTHER: dict[str, Any] = {
    "model": "resnext29_16x64d",
    "architecture": {"num_classes": 5},
    "epochs": 4,
    "batch_size": 17,
    "batch_norm_images": 8,
    "average_decay": 0.999,
    "label_smoothing": 0.25,
    "class_weights": {"cat": 2.0},
    "sampling": "balanced",
    "selection": "last",
    "image.size": 48,
    "image.train_size": 24,
    "image.crop_fraction": 0.875,
    "image.interpolation": "bilinear",
    "image.mean": (0.5, 0.456, 0.406),
    "image.std": (0.229, 0.224, 0.25),
    "augmentation.crop": "none",
    "augmentation.min_area": 0.25,
    "augmentation.aspect": "uniform_swapped",
    "augmentation.max_shift": 5,
    "augmentation.max_rotation_degrees": 10.0,
    "augmentation.flip": True,
    "augmentation.brightness": 0.4,
    "augmentation.contrast": 0.4,
    "augmentation.saturation": 0.4,
    "augmentation.lighting": 0.1,
    "augmentation.policy": "trivial",
    "augmentation.erasing": 0.1,
    "augmentation.decoding": "fast",
    "mixing.mixup": 0.2,
    "mixing.cutmix": 1.0,
    "optimiser.learning_rate": 0.2,
    "optimiser.momentum": 0.8,
    "optimiser.nesterov": False,
    "optimiser.weight_decay": 0.01,
    "optimiser.decays": "weights",
    "schedule.kind": "step",
    "schedule.warmup_epochs": 0.5,
    "schedule.milestones": (1, 2),
    "schedule.factor": 0.5,
    "fine_tuning.weights": "0" * 64,
    "fine_tuning.frozen_epochs": 1,
    "fine_tuning.layer_decay": 0.75,
}

fractions = st.floats(0, 1, exclude_max=True)
positives = st.floats(0, 10, exclude_min=True)
shares = st.floats(0, 1, exclude_min=True)
strengths = st.floats(0, 1)
colours = st.tuples(*[st.floats(-2, 2)] * 3)


def or_auto(strategy: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.just(AUTO) | strategy


IMAGES = st.builds(
    ImageRecipe,
    size=or_auto(st.integers(1, 512)),
    crop_fraction=st.floats(0.125, 1),
    interpolation=st.sampled_from(["bilinear", "bicubic"]),
    mean=or_auto(colours),
    std=or_auto(st.tuples(*[positives] * 3)),
)
AUGMENTATIONS = st.builds(
    Augmentation,
    crop=or_auto(st.sampled_from(["random_resized", "shift", "none"])),
    min_area=shares,
    aspect=st.sampled_from(["log_uniform", "uniform_swapped"]),
    max_shift=st.integers(0, 512),
    max_rotation_degrees=or_auto(st.floats(0, 180)),
    flip=or_auto(st.booleans()),
    brightness=strengths,
    contrast=strengths,
    saturation=strengths,
    lighting=positives,
)
OPTIMISERS = st.builds(
    Optimiser,
    learning_rate=or_auto(positives),
    momentum=fractions,
    nesterov=st.booleans(),
    weight_decay=st.floats(0, 10),
    decays=st.sampled_from(["all", "weights"]),
)
SCHEDULES = st.builds(
    Schedule,
    kind=st.sampled_from(["cosine", "step"]),
    warmup_epochs=st.floats(0, 100),
    milestones=st.lists(st.integers(1, 10**6), max_size=4).map(tuple),
    factor=st.floats(0, 1, exclude_min=True, exclude_max=True),
)
RECIPES = st.builds(
    lambda num_groups, group, **fields: Recipe(
        batch_size=AUTO if num_groups == AUTO else num_groups * (group or 2), batch_norm_images=group, **fields
    ),
    num_groups=or_auto(st.integers(1, 10**9)),
    group=st.none() | st.integers(2, 64),
    average_decay=st.none() | fractions,
    name=st.text(st.characters(codec="utf-8")),
    model=or_auto(st.sampled_from(["resnet18", "resnext29_8x64d", "resnext50_32x4d"])),
    architecture=st.dictionaries(st.sampled_from(["base_width", "base_channels", "num_classes"]), st.integers(1, 999)),
    epochs=or_auto(st.integers(1, 10**9)),
    label_smoothing=fractions,
    image=IMAGES,
    augmentation=AUGMENTATIONS,
    optimiser=OPTIMISERS,
    schedule=SCHEDULES,
)


def flat(fields: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    for key, value in fields.items():
        if isinstance(value, dict) and key != "architecture":
            yield from ((f"{key}.{inner}", leaf) for inner, leaf in value.items())
        else:
            yield key, value


def changed(recipe: Recipe, key: str, value: Any) -> Recipe:
    table, _, leaf = key.rpartition(".")
    return recipe.replace(**{table: {**recipe.model_dump()[table], leaf: value}} if table else {leaf: value})


def refusal(**fields: Any) -> str:
    with pytest.raises(SpecError) as caught:
        Recipe(**{**RESOLVED, **fields})
    return str(caught.value)


@given(recipe=RECIPES)
def test_a_recipe_goes_through_toml_and_json_unchanged(recipe: Recipe) -> None:
    assert Recipe.from_toml(recipe.to_toml()) == recipe
    assert Recipe.from_json(recipe.to_json()) == recipe


def test_a_resolved_recipe_read_back_from_its_file_has_the_same_digest(tmp_path: Path) -> None:
    recipe = Recipe(**{**RESOLVED, "architecture": {"stage_depths": (1, 2), "num_classes": 4}})
    path = tmp_path / "mine.toml"
    path.write_text(recipe.to_toml(), encoding="utf-8")
    assert read_recipe(str(path)).digest() == recipe.digest()


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"bogus": 1}, ["unknown field 'bogus'", "the fields are name, model"]),
        ({"image": {"sizes": 1}}, ["image", "unknown field 'sizes'", "crop_fraction"]),
        ({"architecture": {"width": 4}}, ["architecture", "unknown field 'width'", "base_width"]),
        ({"architecture": {"base_width": "wide"}}, ["base_width = 'wide'", "valid integer"]),
        ({"model": "resnet51"}, ["depth = 51", "allowed are"]),
        ({"epochs": 0}, ["epochs", "= 0", "greater than or equal to 1"]),
        ({"epochs": 2.5}, ["epochs", "= 2.5", "valid integer"]),
        ({"epochs": "many"}, ["epochs", "= 'many'", "valid integer"]),
        ({"epochs": True}, ["epochs", "= True", "valid integer"]),
        ({"batch_size": 1}, ["batch_size", "= 1", "greater than or equal to 2"]),
        ({"batch_norm_images": 1}, ["batch_norm_images = 1", "greater than or equal to 2"]),
        ({"batch_norm_images": 5}, ["batch_norm_images = 5", "batch_size = 16 is no multiple"]),
        ({"batch_norm_images": 32}, ["batch_norm_images = 32", "batch_size = 16 is no multiple"]),
        ({"average_decay": 1}, ["average_decay = 1", "less than 1"]),
        ({"label_smoothing": 1}, ["label_smoothing = 1", "less than 1"]),
        ({"image": {"size": 4_097}}, ["image", "size", "= 4097", "less than or equal to 4096"]),
        ({"image": {"mean": [0.5]}}, ["image", "mean", "'auto'"]),
        ({"image": {"std": [1, 1, 0]}}, ["image", "std.2 = 0", "greater than 0"]),
        ({"image": 3}, ["image = 3"]),
        (
            {"augmentation": {"crop": "zoom"}},
            ["augmentation", "crop", "= 'zoom'", "'random_resized', 'shift' or 'none'"],
        ),
        ({"augmentation": {"contrast": 1.5}}, ["augmentation", "contrast = 1.5", "less than or equal to 1"]),
        ({"augmentation": {"lighting": -1}}, ["augmentation", "lighting = -1", "greater than or equal to 0"]),
        ({"augmentation": {"aspect": "square"}}, ["augmentation", "aspect = 'square'", "'uniform_swapped'"]),
        ({"optimiser": {"learning_rate": 0}}, ["optimiser", "learning_rate", "= 0", "greater than 0"]),
        ({"optimiser": {"momentum": "much"}}, ["optimiser", "momentum = 'much'", "valid number"]),
        ({"schedule": {"milestones": [3, 0]}}, ["schedule", "milestones.1 = 0", "greater than or equal to 1"]),
    ],
)
def test_a_wrong_field_is_named_with_its_value_and_what_is_allowed(fields: dict[str, Any], said: list[str]) -> None:
    message = refusal(**fields)
    assert "\n" not in message
    assert all(part in message for part in said), message


def test_a_wrong_field_that_may_say_auto_is_explained_in_words() -> None:
    message = refusal(epochs=0)
    assert message.startswith("epochs = 0: ")
    assert "'auto'" in message and "constrained" not in message and "literal" not in message


@pytest.mark.parametrize(
    "fields",
    [
        {"optimiser": {"learning_rate": float("inf")}},
        {"schedule": {"warmup_epochs": float("inf")}},
        {"image": {"size": 32, "mean": (float("nan"), 0.0, 0.0)}},
        {"image": {"size": 32, "std": (float("inf"), 1.0, 1.0)}},
    ],
)
def test_a_number_that_is_not_finite_is_refused(fields: dict[str, Any]) -> None:
    assert refusal(**fields)


def test_departures_are_validated_even_while_the_model_is_to_be_chosen() -> None:
    assert "base_width" in refusal(model=AUTO, architecture={"base_width": "wide"})


def test_a_recipe_is_resolved_once_nothing_says_auto() -> None:
    recipe = Recipe(**RESOLVED)
    assert recipe.is_resolved
    left_open = ["model", "epochs", "batch_size", "image.size", "image.mean", "image.std", "optimiser.learning_rate"]
    left_open += ["image.train_size", "class_weights", "selection", "fine_tuning.frozen_epochs"]
    varied = ["crop", "min_area", "max_rotation_degrees", "flip"]
    for key in [*left_open, *(f"augmentation.{name}" for name in varied)]:
        assert not changed(recipe, key, AUTO).is_resolved, key


def test_the_digest_changes_with_every_field_but_the_name() -> None:
    recipe = Recipe(**RESOLVED)
    assert set(OTHER) == {key for key, _ in flat(recipe.model_dump())} - {"name"}
    digests = {key: changed(recipe, key, value).digest() for key, value in OTHER.items()}
    assert len({recipe.digest(), *digests.values()}) == 1 + len(OTHER)
    assert changed(recipe, "name", "another").digest() == recipe.digest()


def test_two_names_of_one_network_give_one_digest() -> None:
    names = ("wide_resnet50_2", "resnet50_1x128d")
    alias, canonical = (Recipe(**{**RESOLVED, "model": name}) for name in names)
    assert alias.digest() == canonical.digest()


def test_an_unresolved_recipe_refuses_what_needs_a_resolved_one() -> None:
    recipe = read_recipe("quick")
    assert not recipe.is_resolved
    for question in (recipe.digest, recipe.network, recipe.preprocessing):
        with pytest.raises(SpecError, match="'auto'"):
            question()


def test_the_network_is_the_model_with_its_departures() -> None:
    network = Recipe(**RESOLVED).network()
    assert (network.name, network.num_classes) == ("resnext29_8x64d", 4)


@pytest.mark.parametrize("field", ["mean", "std"])
def test_colours_still_to_be_chosen_give_no_preprocessing(field: str) -> None:
    recipe = changed(Recipe(**RESOLVED), f"image.{field}", AUTO)
    with pytest.raises(SpecError, match=f"image.{field} = 'auto': still to be chosen"):
        recipe.preprocessing()


def test_images_are_resized_by_the_crop_fraction() -> None:
    image = {"size": 224, "crop_fraction": 0.875, "interpolation": "bilinear", "mean": (0.0, 0.1, 0.2)}
    preprocessing = Recipe(**{**RESOLVED, "image": image}).preprocessing()
    assert (preprocessing.image_size, preprocessing.resize_size) == (224, 256)
    assert (preprocessing.interpolation, preprocessing.mean) == ("bilinear", (0.0, 0.1, 0.2))


@pytest.mark.parametrize("image", [{"size": 4_096, "crop_fraction": 0.5}, {"size": 32, "crop_fraction": 1e-320}])
def test_a_crop_fraction_that_asks_for_a_giant_image_is_refused_with_the_recipe(image: dict[str, Any]) -> None:
    assert "crop_fraction" in refusal(image=image)


def test_classes_are_made_to_count_alike_in_one_way_only() -> None:
    with pytest.raises(SpecError, match="each makes classes count alike; leave one out"):
        Recipe(name="a", class_weights=AUTO, sampling="balanced")
    assert Recipe(name="a", class_weights={"rose": 2.0}, sampling="balanced").sampling == "balanced"
