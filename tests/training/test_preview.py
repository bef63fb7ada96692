from collections.abc import Callable, Collection
from dataclasses import replace

import numpy as np
import pytest

from resnext.data.dataset import Data, DataError, Dataset
from resnext.spec.recipe import Recipe
from resnext.training.preview import preview
from resnext.training.task import Task

UNVARIED = {"crop": "none", "flip": False}


def unvaried(recipe: Recipe) -> Recipe:
    return recipe.replace(augmentation=UNVARIED)


def test_images_of_all_classes_are_shown_with_seven_variants(data: Data, recipe: Recipe) -> None:
    rows = preview(Task(data=data, recipe=recipe))
    assert [row.title for row in rows] == ["red", "green", "blue", "red", "green", "blue", "red", "green"]
    assert {variant.shape for row in rows for variant in row.variants} == {(16, 16, 3)}
    assert {len(row.variants) for row in rows} == {7}


def test_variants_are_of_their_own_original(data: Data, recipe: Recipe) -> None:
    for row in preview(Task(data=data, recipe=unvaried(recipe))):
        for variant in row.variants:
            assert np.array_equal(variant, np.asarray(row.original))


def test_variants_are_varied(data: Data, recipe: Recipe) -> None:
    for row in preview(Task(data=data, recipe=recipe)):
        assert len({variant.tobytes() for variant in row.variants}) > 1


def test_what_comes_in_from_outside_is_the_mean_colour(data: Data, recipe: Recipe) -> None:
    shifted = recipe.replace(augmentation={"crop": "shift", "max_shift": 8, "flip": False})
    mean = tuple(round(255 * value) for value in recipe.preprocessing().mean)
    rows = preview(Task(data=data, recipe=shifted))
    assert any((variant == mean).all(axis=2).any() for row in rows for variant in row.variants)


def test_seeds_differ_and_the_same_one_shows_the_same(data: Data, recipe: Recipe) -> None:
    first, again, other = (
        [variant.tobytes() for row in preview(Task(data=data, recipe=recipe, seed=seed)) for variant in row.variants]
        for seed in (0, 0, 1)
    )
    assert first == again
    assert first != other


@pytest.mark.parametrize(
    "changes",
    [{"sampling": "balanced"}, {"batch_norm_images": 4}, {"class_weights": {"red": 2.0}}],
    ids=lambda changes: next(iter(changes)),
)
def test_how_images_are_drawn_and_weighed_is_left_out(data: Data, recipe: Recipe, changes: dict[str, object]) -> None:
    changed, plain = (preview(Task(data=data, recipe=recipe.replace(**given))) for given in (changes, {}))
    for one, other in zip(changed, plain, strict=True):
        assert np.array_equal(one.variants, other.variants)


def without(data: Data, damaged: Callable[..., Dataset], places: Collection[int]) -> Data:
    return replace(data, splits={**data.splits, "train": damaged(data.split("train"), places)})


def test_unreadable_images_are_passed_over(data: Data, recipe: Recipe, damaged: Callable[..., Dataset]) -> None:
    rows = preview(Task(data=without(data, damaged, (0, 3, 4)), recipe=unvaried(recipe)))
    assert [row.title for row in rows] == ["red", "green", "blue", "red", "green", "blue", "red", "green"]
    assert {len(row.variants) for row in rows} == {7}


def test_too_few_readable_images_are_one_sentence(data: Data, recipe: Recipe, damaged: Callable[..., Dataset]) -> None:
    with pytest.raises(DataError, match="colours: fewer than 2 training images can be read"):
        preview(Task(data=without(data, damaged, range(1, 24)), recipe=recipe))


def test_a_stream_is_looked_at_like_a_data_set(streamed: Data, recipe: Recipe) -> None:
    rows = preview(Task(data=streamed, recipe=unvaried(recipe)))
    assert sorted({row.title for row in rows[:3]}) == ["blue", "green", "red"]
    assert len(rows) == 8
    for row in rows:
        assert len(row.variants) == 7
        assert all(np.array_equal(variant, np.asarray(row.original)) for variant in row.variants)
