from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from resnext.data.dataset import ArrayDataset, Data
from resnext.spec.recipe import Recipe
from resnext.training.layout import check_layout
from resnext.training.machine import Machine
from resnext.training.run import Run
from resnext.training.task import Task
from resnext.training.world import World

COUNTS = st.integers(1, 12)


def check(recipe: Recipe, num_images: int, num_processes: int = 1, micro: int | None = None) -> None:
    train = ArrayDataset("train", np.zeros((num_images, 1, 1, 3), dtype=np.uint8), [0] * num_images)
    data = Data(source="grey", class_names=("a", "b", "c"), splits={"train": train, "val": train}, digest="0" * 64)
    check_layout(
        Task(data=data, recipe=recipe), Machine(device="cpu", micro_batch_size=micro), World(size=num_processes)
    )


def refusal(*layout: Any, **more: Any) -> str:
    with pytest.raises(ValueError) as caught:
        check(*layout, **more)
    message = str(caught.value)
    assert message.isprintable()
    return message


def is_legal(batch: int, group: int | None, num_processes: int, micro: int | None) -> bool:
    """Tell whether processes and parts take equal shares of a batch and cut it between groups alone."""
    if batch % num_processes:
        return False
    share = batch // num_processes
    if num_processes == 1 and (micro is None or micro >= share):
        return True
    return group is not None and share % group == 0 and (micro is None or micro % group == 0)


@given(
    group=st.none() | st.integers(2, 12), num_groups=COUNTS, num_processes=st.integers(1, 6), micro=st.none() | COUNTS
)
@example(group=8, num_groups=8, num_processes=4, micro=8)
@example(group=8, num_groups=8, num_processes=4, micro=None)
@example(group=None, num_groups=8, num_processes=1, micro=None)
def test_a_layout_passes_where_it_cuts_batches_between_groups_alone(
    recipe: Recipe, group: int | None, num_groups: int, num_processes: int, micro: int | None
) -> None:
    batch = (group or 1) * num_groups
    assume(batch > 1)
    grouped = recipe.replace(batch_size=batch, batch_norm_images=group)
    if is_legal(batch, group, num_processes, micro):
        check(grouped, 200, num_processes, micro)
    else:
        refusal(grouped, 200, num_processes, micro)


@given(num_images=st.integers(2, 64), group=st.integers(2, 16), num_processes=st.integers(2, 6))
def test_where_the_data_is_less_than_a_batch_its_size_is_what_counts(
    recipe: Recipe, num_images: int, group: int, num_processes: int
) -> None:
    grouped = recipe.replace(batch_size=64 * group, batch_norm_images=group)
    if is_legal(num_images, group, num_processes, None):
        check(grouped, num_images, num_processes)
    else:
        assert str(num_images) in refusal(grouped, num_images, num_processes)


def test_micro_batches_do_not_cut_a_small_data_set_within_groups(recipe: Recipe) -> None:
    grouped = recipe.replace(batch_size=64, batch_norm_images=16)
    assert "24" in refusal(grouped, 24, 1, 16)  # whole: one group of 24; cut: groups of 16 and 8


@pytest.mark.parametrize(
    ("group", "num_processes", "micro", "words"),
    [
        (None, 3, None, ("batch_size = 64", "3 processes", "a multiple of 3")),
        (None, 2, None, ("batch_norm_images is left out", "--set batch_norm_images=32")),
        (None, 1, 16, ("batch_norm_images is left out", "--set batch_norm_images=16")),
        (32, 4, None, ("batch_norm_images = 32", "4 processes", "16 of the 64 images")),
        (16, 1, 24, ("micro-batch of 24 images", "batch_norm_images = 16")),
        (16, 2, 8, ("micro-batch of 8 images", "batch_norm_images = 16")),
    ],
)
def test_every_refusal_names_the_numbers_and_what_to_change(
    recipe: Recipe, group: int | None, num_processes: int, micro: int | None, words: tuple[str, ...]
) -> None:
    message = refusal(recipe.replace(batch_size=64, batch_norm_images=group), 200, num_processes, micro)
    assert [word for word in words if word not in message] == []


def test_what_a_refusal_advises_is_legal(recipe: Recipe) -> None:
    message = refusal(recipe.replace(batch_size=64), 200, 2)
    advised = int(message.partition("batch_norm_images=")[2].split()[0])
    check(recipe.replace(batch_size=64, batch_norm_images=advised), 200, 2)


def test_a_run_with_an_illegal_layout_leaves_no_folder(start: Callable[..., Run], tmp_path: Any) -> None:
    with pytest.raises(ValueError, match="batch_norm_images is left out"):
        start(machine={"micro_batch_size": 2})
    assert list(tmp_path.iterdir()) == []
