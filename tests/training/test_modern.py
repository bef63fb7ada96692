import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from resnext.data.dataset import Data
from resnext.data.views import Relabelled
from resnext.spec.recipe import Recipe, read_recipe
from resnext.training.loop import StepReport
from resnext.training.machine import Machine
from resnext.training.run import Run
from resnext.training.task import adapt

Start = Callable[..., Run]

EVERYTHING: dict[str, Any] = {
    "average_decay": 0.9,
    "label_smoothing": 0.1,
    "class_weights": {"red": 2.0, "blue": 0.5},
    "sampling": "balanced",
    "image": {"size": 16, "train_size": 12},
    "augmentation": {"crop": "random_resized", "policy": "trivial", "flip": True, "erasing": 0.5},
    "mixing": {"mixup": 0.2, "cutmix": 1.0},
}


def trained(run: Run) -> dict[str, Tensor]:
    list(run)
    run.finish()
    return run.state.network.state_dict()


def first_loss(run: Run) -> float:
    """Return the loss of a network that gives every class the same probability."""
    for parameter in run.state.network.head.parameters():
        parameter.data.zero_()
    losses = [report.loss for report in run if isinstance(report, StepReport)]
    run.finish()
    return losses[0]


@pytest.fixture
def everything(recipe: Recipe) -> Recipe:
    """Return a recipe with all that is usual since the paper."""
    return recipe.replace(**EVERYTHING)


@pytest.mark.parametrize("num_threads", [1, 3])
def test_all_of_it_is_the_same_to_the_last_bit_on_any_number_of_threads(
    start: Start, everything: Recipe, num_threads: int
) -> None:
    alone = trained(start("alone", recipe=everything, machine={"num_threads": 0}))
    torch.manual_seed(99)
    threaded = trained(start("threaded", recipe=everything, machine={"num_threads": num_threads}))
    assert all(torch.equal(alone[name], threaded[name]) for name in alone)


@pytest.mark.parametrize("field", sorted(EVERYTHING.keys() - {"average_decay"}))
def test_each_of_it_changes_what_is_learnt(start: Start, recipe: Recipe, everything: Recipe, field: str) -> None:
    without = everything.replace(**{field: getattr(recipe, field)})
    changed, plain = trained(start("with", recipe=everything)), trained(start("without", recipe=without))
    assert not torch.equal(changed["head.weight"], plain["head.weight"])


def test_training_images_have_a_size_of_their_own(start: Start, everything: Recipe) -> None:
    run = start(recipe=everything)
    sizes = {True: set(), False: set()}  # type: ignore[var-annotated]
    average = run.state.average
    assert average is not None
    for network in (run.state.network, average):

        def note(module: nn.Module, given: tuple[Tensor, ...]) -> None:
            sizes[module.training].add(tuple(given[0].shape[2:]))

        network.register_forward_pre_hook(note)
    trained(run)
    assert sizes == {True: {(12, 12)}, False: {(16, 16)}}


@pytest.fixture
def uneven(data: Data) -> Data:
    """Return the data with 12 red, 8 green and 4 blue training images."""
    labels = [0] * 12 + [1] * 8 + [2] * 4
    return replace(data, splits={**data.splits, "train": Relabelled(data.indexed("train"), labels)})


@pytest.mark.parametrize(("sampling", "counts"), [("shuffled", (12, 8, 4)), ("balanced", (8, 8, 8))])
def test_the_loss_is_weighed_by_class_name_over_the_images_that_are_shown(
    start: Start, recipe: Recipe, uneven: Data, sampling: str, counts: tuple[int, int, int]
) -> None:
    weighed = recipe.replace(batch_size=24, sampling=sampling, class_weights={"blue": 5.0, "red": 0.5})
    red, green, blue = counts
    expected = math.log(3) * (0.5 * red + green + 5 * blue) / 24
    assert first_loss(start(data=uneven, recipe=weighed)) == pytest.approx(expected, rel=1e-5)


def test_weights_left_to_choose_are_counted_on_the_training_images(uneven: Data) -> None:
    recipe, _ = adapt(read_recipe("quick", {"class_weights": "auto"}), uneven, Machine(device="cpu"))
    assert recipe.class_weights == {"red": 0.666667, "green": 1.0, "blue": 2.0}


def test_the_modern_recipe_learns_with_what_it_chooses(start: Start, data: Data) -> None:
    small = {"model": "resnext11_2x2d", "architecture": {"base_channels": 4}, "epochs": 2}
    recipe, _ = adapt(read_recipe("modern", small), data, Machine(device="cpu"))
    losses = [report.loss for report in start(recipe=recipe) if isinstance(report, StepReport)]
    assert all(map(math.isfinite, losses))
