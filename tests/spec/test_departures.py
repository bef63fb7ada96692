from typing import Any

import pytest

from resnext.spec.departures import Departure, departures, rate_departure
from resnext.spec.facts import Facts
from resnext.spec.recipe import Recipe, read_recipe
from resnext.spec.resolve import resolve
from resnext.spec.value import SpecError

CIFAR_10 = Facts(
    num_images=50_000,
    num_classes=10,
    shorter_side=32,
    is_handwriting=False,
    num_cores=8,
    has_gpu=True,
    colour_mean=(0.491, 0.482, 0.447),
    colour_std=(0.247, 0.244, 0.262),
)


def imagenet(**changes: Any) -> Recipe:
    return read_recipe("paper-imagenet", changes)


def cifar(**changes: Any) -> Recipe:
    return resolve(read_recipe("paper-cifar", changes), CIFAR_10)[0]


def fields(found: tuple[Departure, ...]) -> list[str]:
    return [departure.field for departure in found]


def test_the_papers_own_recipes_depart_in_nothing() -> None:
    assert departures(imagenet()) == departures(cifar()) == ()
    assert rate_departure(imagenet()) is rate_departure(cifar()) is None


@pytest.mark.parametrize("model", ["resnet50", "resnext101_64x4d", "resnet101_1x100d"])
def test_any_network_of_the_paper_and_any_classes_are_no_departure(model: str) -> None:
    assert departures(imagenet(model=model, architecture={"num_classes": 5_000})) == ()


def test_a_recipe_is_compared_with_the_papers_for_the_stem_of_its_network() -> None:
    assert departures(cifar(optimiser={"weight_decay": 1e-4})) == (Departure("optimiser.weight_decay", 5e-4, 1e-4),)
    crossed = imagenet(model="resnext29_16x64d")
    assert Departure("optimiser.weight_decay", 5e-4, 1e-4) in departures(crossed)
    assert Departure("augmentation.crop", "shift", "random_resized") in departures(crossed)


def test_every_field_that_differs_is_named_as_in_toml_with_both_values() -> None:
    changes = {
        "epochs": 90,
        "batch_norm_images": 64,
        "average_decay": 0.999,
        "image": {"interpolation": "bilinear"},
        "augmentation": {"lighting": 0.0, "flip": False},
        "schedule": {"milestones": [30, 60]},
        "architecture": {"shortcut": "C", "base_channels": 32},
    }
    assert set(departures(imagenet(**changes))) == {
        Departure("epochs", 100, 90),
        Departure("batch_norm_images", 32, 64),
        Departure("average_decay", None, 0.999),
        Departure("image.interpolation", "bicubic", "bilinear"),
        Departure("augmentation.lighting", 0.1, 0.0),
        Departure("augmentation.flip", True, False),
        Departure("schedule.milestones", (30, 60, 90), (30, 60)),
        Departure("architecture.shortcut", "B", "C"),
        Departure("architecture.base_channels", 64, 32),
    }


def test_statistics_of_the_whole_batch_are_counted_in_images() -> None:
    fields_of = {**imagenet().model_dump(), "batch_norm_images": None}
    assert departures(Recipe(**fields_of)) == (Departure("batch_norm_images", 32, 256),)
    small = Recipe(**{**fields_of, "batch_size": 32})
    assert fields(departures(small)) == ["batch_size"]


def test_fields_without_a_meaning_are_not_compared() -> None:
    assert departures(imagenet(augmentation={"max_shift": 7})) == ()
    assert departures(cifar(augmentation={"min_area": 0.9, "aspect": "uniform_swapped"})) == ()
    assert fields(departures(imagenet(schedule={"kind": "cosine", "milestones": []}))) == ["schedule.kind"]
    cropped = cifar(augmentation={"crop": "random_resized", "min_area": 0.08})
    assert fields(departures(cropped)) == ["augmentation.crop"]


def test_a_training_size_that_is_the_tests_is_no_departure() -> None:
    assert departures(imagenet(image={"train_size": 224})) == ()
    assert departures(imagenet(image={"train_size": 176})) == (Departure("image.train_size", "same", 176),)


def test_mixing_policies_and_balance_are_departures() -> None:
    changes = {
        "mixing": {"mixup": 0.2},
        "augmentation": {"policy": "trivial"},
        "sampling": "balanced",
        "class_weights": {"cat": 2.0},
    }
    assert set(fields(departures(imagenet(**changes)))) == {
        "mixing.mixup",
        "augmentation.policy",
        "sampling",
        "class_weights",
    }


def test_colours_are_compared_with_a_paper_recipe_resolved_for_the_same_data() -> None:
    ours = cifar(image={"mean": (0.485, 0.456, 0.406)})
    assert departures(ours) == ()
    expected = Departure("image.mean", CIFAR_10.colour_mean, (0.485, 0.456, 0.406))
    assert departures(ours, paper=cifar()) == (expected,)


def test_a_recipe_still_to_be_resolved_is_refused() -> None:
    with pytest.raises(SpecError, match="'auto'; only a resolved one can be compared"):
        departures(read_recipe("paper-cifar"))


@pytest.mark.parametrize(
    ("recipe", "sentence"),
    [
        (
            imagenet(batch_size=64),
            "optimiser.learning_rate = 0.1 for a batch of 64 departs from the paper's 0.1 for 256 (paper-imagenet);"
            " in proportion it would be 0.025",
        ),
        (
            cifar(optimiser={"learning_rate": 0.2}),
            "optimiser.learning_rate = 0.2 for a batch of 128 departs from the paper's 0.1 for 128 (paper-cifar);"
            " in proportion it would be 0.1",
        ),
    ],
)
def test_a_rate_out_of_proportion_to_the_batch_is_said_with_the_one_in_proportion(
    recipe: Recipe, sentence: str
) -> None:
    assert rate_departure(recipe) == sentence


@pytest.mark.parametrize("batch_size", [32, 96, 224, 1_024])
def test_a_rate_in_proportion_to_the_batch_is_no_departure(batch_size: int) -> None:
    assert rate_departure(imagenet(batch_size=batch_size, optimiser={"learning_rate": batch_size / 2_560})) is None
