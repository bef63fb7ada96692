from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from resnext.artefact.store import load_artefact
from resnext.data.dataset import ArrayDataset, Data
from resnext.spec.recipe import Recipe
from resnext.training.loop import StepReport
from resnext.training.run import Run

Start = Callable[..., Run]
NAMES = tuple("abcdefghij")


def trained(run: Run) -> dict[str, Tensor]:
    list(run)
    run.finish()
    return run.state.network.state_dict()


def losses(run: Run) -> list[float]:
    found = [report.loss for report in run if isinstance(report, StepReport)]
    run.finish()
    return found


def in_one_vector(run: Run, name: str) -> Tensor:
    network = load_artefact(run.folder.artefact(name))[0]
    return torch.cat([tensor.double().flatten() for tensor in network.state_dict().values()])


@pytest.mark.parametrize("num_threads", [1, 3])
def test_a_seed_gives_the_same_weights_to_the_last_bit_on_any_number_of_threads(start: Start, num_threads: int) -> None:
    alone = trained(start("alone", machine={"num_threads": 0}))
    threaded = trained(start("threaded", machine={"num_threads": num_threads}))
    assert all(torch.equal(alone[name], threaded[name]) for name in alone)


def test_a_seed_does_not_depend_on_the_state_of_the_global_generators(start: Start) -> None:
    first = trained(start("first"))
    torch.manual_seed(99)
    second = trained(start("second"))
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_seeds_differ_in_initial_weights_and_in_the_order_of_images(start: Start) -> None:
    these, those = start("these", seed=1), start("those", seed=2)
    assert not torch.equal(these.state.network.head.weight, those.state.network.head.weight)
    those.state.network.load_state_dict(these.state.network.state_dict())
    assert not torch.equal(trained(these)["head.weight"], trained(those)["head.weight"])


@pytest.fixture(scope="module")
def ten_classes(images: Callable[..., ArrayDataset]) -> Data:
    splits = {name: images(name, number, num_classes=10, size=32) for name, number in (("train", 40), ("val", 10))}
    return Data(source="ten", class_names=NAMES, splits=splits, digest="1" * 64)


@pytest.fixture
def twenty_steps(recipe: Recipe) -> Recipe:
    """Return a recipe of twenty steps at learning rate 1e-3 of a net with C = 8 on 32x32 pixels and ten classes."""
    return recipe.replace(
        model="resnext11_8x2d",
        architecture={"base_channels": 4, "num_classes": 10},
        batch_size=4,
        image={"size": 32},
        optimiser={"learning_rate": 1e-3},
        schedule={"kind": "step"},
    )


@pytest.mark.parametrize("form", ["aggregated", "concatenated"])
def test_every_form_trains_with_the_loss_of_the_grouped_one_and_ships_the_same(
    start: Start, ten_classes: Data, twenty_steps: Recipe, relative_error: Callable[[Tensor, Tensor], float], form: str
) -> None:
    runs = {
        form: start(form, data=ten_classes, recipe=twenty_steps, machine={"precision": "fp64", "form": form})
        for form in ("grouped", form)
    }
    found = {form: losses(run) for form, run in runs.items()}
    assert len(found["grouped"]) == 20
    assert found[form] == pytest.approx(found["grouped"], rel=1e-9, abs=0)
    assert runs[form].state.network.form == form
    for name in ("best", "last"):
        assert relative_error(in_one_vector(runs[form], name), in_one_vector(runs["grouped"], name)) < 1e-9
