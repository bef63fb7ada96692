from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from resnext.artefact.weights import Weights
from resnext.data.dataset import Data
from resnext.model.forms import build
from resnext.spec.recipe import Recipe, read_recipe
from resnext.spec.value import SpecError
from resnext.training.checkpoint import CheckpointError
from resnext.training.conduct import Conduct
from resnext.training.loop import StepReport
from resnext.training.machine import Machine
from resnext.training.optimiser import make_optimiser, rate_scales
from resnext.training.run import Run
from resnext.training.task import Task, adapt

FROZEN = 2


@pytest.fixture(scope="module")
def tuning(recipe: Recipe, weights: Weights) -> Recipe:
    """Return four epochs of three steps, the first two with all but the head frozen."""
    return recipe.replace(
        epochs=4,
        batch_norm_images=4,
        average_decay=0.9,
        optimiser={"learning_rate": 0.02},
        fine_tuning={"weights": weights.digest, "frozen_epochs": FROZEN, "layer_decay": 0.5},
    )


@pytest.fixture
def tune(data: Data, tuning: Recipe, weights: Weights, tmp_path: Path) -> Callable[..., Run]:
    def make(name: str = "run", *, resumes: bool = True, **given: Any) -> Run:
        task = Task(data=data, recipe=given.pop("recipe", tuning), weights=given.pop("weights", weights))
        machine = Machine(device="cpu", num_threads=0, **given)
        return Run(task, Conduct(out=tmp_path / name, resumes=resumes), machine)

    return make


def body(run: Run) -> dict[str, Tensor]:
    """Return copies of all but the head of the network that is trained."""
    held = run.state.network.state_dict()
    return {name: tensor.clone() for name, tensor in held.items() if not name.startswith("head.")}


def is_same(these: dict[str, Tensor], those: dict[str, Tensor]) -> bool:
    return these.keys() == those.keys() and all(torch.equal(these[name], those[name]) for name in those)


def stop_after(run: Run, num_steps: int) -> None:
    """Train up to a step, and leave what a stopped run leaves."""
    for report in run:
        if isinstance(report, StepReport) and report.step == num_steps:
            break
    run.finish()


def test_training_begins_with_the_weights_and_a_head_of_its_own(tune: Callable[..., Run], weights: Weights) -> None:
    run = tune()
    expected = {name: tensor for name, tensor in weights.tensors.items() if not name.startswith("head.")}
    assert is_same(body(run), expected)
    assert run.state.network.head.weight.shape[0] == 3
    assert run.state.average is not None
    assert torch.equal(run.state.average.stem.conv.weight, weights.tensors["stem.conv.weight"])
    run.folder.release()


def test_the_head_stays_where_the_classes_are_the_same_in_the_same_order(
    tune: Callable[..., Run], data: Data, recipe: Recipe
) -> None:
    network = build(recipe.network(), generator=torch.Generator().manual_seed(7))
    known = Weights(
        origin="ours",
        architecture=network.architecture,
        tensors=dict(network.state_dict()),
        digest="d",
        class_names=data.class_names,
    )
    wanted = recipe.replace(fine_tuning={"weights": "d"})
    kept = tune("kept", recipe=wanted, weights=known)
    assert torch.equal(kept.state.network.head.weight, network.head.weight)
    turned = tune("turned", recipe=wanted, weights=replace(known, class_names=data.class_names[::-1]))
    assert not torch.equal(turned.state.network.head.weight, network.head.weight)
    for run in (kept, turned):
        run.folder.release()


@pytest.mark.parametrize("form", ["grouped", "aggregated"])
def test_while_frozen_the_head_alone_changes_and_then_everything(tune: Callable[..., Run], form: Any) -> None:
    run = tune(form=form)
    before, head = body(run), run.state.network.head.weight.clone()
    for report in run:
        if not isinstance(report, StepReport):
            continue
        momentum = {name for name in run.state.tensors() if name.startswith("momentum.")}
        if report.epoch <= FROZEN:
            assert is_same(body(run), before)
            assert momentum == {"momentum.head.weight", "momentum.head.bias"}
        else:
            assert "momentum.stem.conv.weight" in momentum
    assert not torch.equal(run.state.network.head.weight, head)
    changed = [name for name, tensor in body(run).items() if not torch.equal(tensor, before[name])]
    assert sorted(changed) == sorted(name for name in before if before[name].numel())
    assert all(tensor.isfinite().all() for tensor in body(run).values())
    run.finish()


@pytest.mark.parametrize("step", [2, 5, 6, 8, 9])
def test_a_run_stopped_in_either_phase_ends_as_if_it_never_had(
    tune: Callable[..., Run], kept: Callable[[Path], dict[str, Any]], step: int, tmp_path: Path
) -> None:
    stop_after(tune("whole"), 99)
    stop_after(tune("stopped"), step)
    stop_after(tune("stopped"), 99)
    assert kept(tmp_path / "stopped")["progress"]["position"] == kept(tmp_path / "whole")["progress"]["position"]
    found, expected = kept(tmp_path / "stopped"), kept(tmp_path / "whole")
    assert {key: found[key] for key in found if key.startswith("checkpoint")} == {
        key: expected[key] for key in expected if key.startswith("checkpoint")
    }


@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf")  # the compiler's own reading
def test_a_compiled_network_thaws_too(tune: Callable[..., Run], monkeypatch: pytest.MonkeyPatch) -> None:
    real = torch.compile
    monkeypatch.setattr(torch, "compile", lambda network: real(network, backend="eager"))
    compiled, plain = tune("compiled", compiles=True), tune("plain")
    for run in (compiled, plain):
        list(run)
    for name, tensor in body(plain).items():
        torch.testing.assert_close(body(compiled)[name], tensor, rtol=1e-4, atol=1e-5)
    for run in (compiled, plain):
        run.folder.release()


def test_another_run_than_the_fine_tuned_one_in_the_folder_is_told_to_name_the_weights(
    tune: Callable[..., Run], tuning: Recipe, weights: Weights
) -> None:
    stop_after(tune(), 1)
    with pytest.raises(CheckpointError, match="holds another run: recipe_digest = ") as caught:
        tune(recipe=tuning.replace(epochs=5))
    named = f"--seed 0 --from WEIGHTS, those whose SHA-256 begins with {weights.digest[:12]}; it was started as"
    assert named in str(caught.value)


def test_layers_learn_slower_the_further_they_are_from_the_head(recipe: Recipe) -> None:
    network = build(recipe.network())
    scales = rate_scales(network, 0.5)
    of = {name.rpartition(".")[0]: scale for name, scale in scales.items()}
    assert (of["head"], of["stages.2.0.reduce.conv"], of["stages.0.0.shortcut.norm"]) == (1, 0.5, 0.125)
    assert (of["stem.conv"], of["stem.norm"]) == (0.0625, 0.0625)
    optimiser = make_optimiser(network, recipe.optimiser, 0.5)
    found = {parameter: group["lr"] for group in optimiser.param_groups for parameter in group["params"]}
    assert found == {network.get_parameter(name): pytest.approx(0.1 * scale) for name, scale in scales.items()}
    assert len(make_optimiser(network, recipe.optimiser).param_groups) == 1


def test_weights_and_recipe_must_agree(data: Data, tuning: Recipe, recipe: Recipe, weights: Weights) -> None:
    with pytest.raises(SpecError, match="starts from trained weights; give them with --from"):
        Task(data=data, recipe=tuning)
    with pytest.raises(SpecError, match=r"other weights than those of others\.pt"):
        Task(data=data, recipe=tuning, weights=replace(weights, digest="f" * 64))
    with pytest.raises(SpecError, match="random weights are not worth freezing"):
        Task(data=data, recipe=recipe.replace(fine_tuning={"frozen_epochs": 1}))


def test_quick_takes_the_network_of_the_weights_and_names_them(data: Data, weights: Weights) -> None:
    resolved, choices = adapt(read_recipe("quick"), data, Machine(device="cpu"), weights)
    assert resolved.network() == weights.architecture.replace(num_classes=3)
    assert resolved.fine_tuning.weights == weights.digest
    reasons = {choice.field: choice.why for choice in choices}
    assert reasons["model"] == "that of others.pt"
    assert "fine_tuning.frozen_epochs" in reasons
    again, nothing = adapt(resolved, data, Machine(device="cpu"), weights)
    assert (again, nothing) == (resolved, ())
