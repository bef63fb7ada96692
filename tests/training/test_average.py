import copy
from collections.abc import Callable

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from resnext.artefact.store import load_artefact
from resnext.data.dataset import Data
from resnext.model.forms import build
from resnext.model.network import Network
from resnext.spec.architecture import Architecture
from resnext.spec.recipe import Recipe
from resnext.training.loop import EpochReport, StepReport
from resnext.training.run import Run
from resnext.training.state import follow

SMALL = Architecture(stage_depths=(1, 1), cardinality=2, base_width=2, base_channels=4, stem="cifar", num_classes=3)


def filled(network: Network, value: float, count: int) -> None:
    """Give all weights and statistics of a network one value, and all its counters one count."""
    for tensor in network.state_dict().values():
        tensor.fill_(value if tensor.is_floating_point() else count)


@pytest.fixture(scope="module")
def pair() -> tuple[Network, Network]:
    """Return two networks to be filled anew by every example."""
    return build(SMALL).double(), build(SMALL).double()


@given(decay=st.floats(0, 0.9999), values=st.lists(st.floats(-10, 10), min_size=1, max_size=6))
def test_the_average_follows_weights_and_statistics_by_the_formula(
    pair: tuple[Network, Network], decay: float, values: list[float]
) -> None:
    network, average = pair
    filled(average, 1.0, 0)
    expected = 1.0
    for step, value in enumerate(values, start=1):
        filled(network, value, step)
        follow(average, network, decay, step)
        kept = min(decay, (1 + step) / (10 + step))
        expected = kept * expected + (1 - kept) * value
    for tensor in average.state_dict().values():
        wanted = expected if tensor.is_floating_point() else len(values)
        assert (tensor.double() - wanted).abs().max().item() < 1e-12


def test_the_decay_rises_to_that_of_the_recipe() -> None:
    network, average = build(SMALL).double(), build(SMALL).double()
    filled(network, 1.0, 0)
    shares = []
    for step in (1, 2, 8, 79, 80, 81, 10_000):
        filled(average, 0.0, 0)
        follow(average, network, 0.9, step)
        shares.append(average.head.weight[0, 0].item())
    assert shares == pytest.approx([9 / 11, 9 / 12, 0.5, 9 / 89, 0.1, 0.1, 0.1], rel=1e-12)


def test_the_network_is_not_moved_by_its_average() -> None:
    network, average = build(SMALL), build(SMALL)
    before = copy.deepcopy(network)
    follow(average, network, 0.5, 3)
    assert all(torch.equal(network.state_dict()[name], tensor) for name, tensor in before.state_dict().items())


def test_a_run_averages_every_step_from_its_initial_weights(start: Callable[..., Run], demanding: Recipe) -> None:
    run = start(recipe=demanding, machine={"precision": "fp64"})
    assert run.state.average is not None
    expected = {name: tensor.clone() for name, tensor in run.state.network.state_dict().items()}
    for report in run:
        if not isinstance(report, StepReport):
            continue
        kept = min(0.9, (1 + report.step) / (10 + report.step))
        for name, tensor in run.state.network.state_dict().items():
            moved = kept * expected[name] + (1 - kept) * tensor
            expected[name] = moved if tensor.is_floating_point() else tensor.clone()
    for name, tensor in run.state.average.state_dict().items():
        assert torch.allclose(tensor, expected[name], rtol=1e-12, atol=1e-14), name
    assert not torch.equal(run.state.average.head.weight, run.state.network.head.weight)


def test_the_average_is_what_is_scored_and_shipped(start: Callable[..., Run], demanding: Recipe, data: Data) -> None:
    run = start(recipe=demanding.replace(epochs=1))
    (end,) = [report for report in run if isinstance(report, EpochReport)]
    assert run.state.average is not None
    assert run.state.shipped is run.state.average
    shipped, manifest = load_artefact(run.finish().artefact)
    average = run.state.average.state_dict()
    assert all(torch.equal(tensor, average[name]) for name, tensor in shipped.state_dict().items())
    assert manifest.measurements[0].loss == end.scores.loss
    assert run.scorer.score(run.state.network.eval(), "val").loss != end.scores.loss


def test_without_a_decay_the_network_itself_is_scored_and_shipped(start: Callable[..., Run]) -> None:
    run = start()
    assert run.state.average is None
    assert run.state.shipped is run.state.network
