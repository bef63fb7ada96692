from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from resnext.model.forms import build
from resnext.model.network import Network
from resnext.spec.architecture import Architecture
from resnext.spec.recipe import Optimiser
from resnext.training.optimiser import decay_of, make_optimiser

SMALL = Architecture(stage_depths=(1, 1), cardinality=2, base_width=2, base_channels=4, stem="cifar", num_classes=3)


@pytest.fixture
def network() -> Network:
    return build(SMALL, generator=torch.Generator().manual_seed(0)).double()


def settings(**changes: object) -> Optimiser:
    return Optimiser(**{"learning_rate": 0.1, "weight_decay": 5e-4, **changes})


def gradients(network: Network, seed: int) -> dict[str, Tensor]:
    """Give every parameter a random gradient, and return a copy of them."""
    generator = torch.Generator().manual_seed(seed)
    for parameter in network.parameters():
        parameter.grad = torch.randn(parameter.shape, generator=generator, dtype=parameter.dtype)
    return {name: p.grad.clone() for name, p in network.named_parameters() if p.grad is not None}


def weights(network: Network) -> dict[str, Tensor]:
    return {name: parameter.detach().clone() for name, parameter in network.named_parameters()}


@pytest.mark.parametrize("decays", ["all", "weights"])
def test_the_decay_of_every_parameter_is_pinned(
    golden: Callable[[str, str], None], network: Network, decays: str
) -> None:
    decay = decay_of(network, settings(decays=decays))
    golden(f"decay_{decays}.txt", "".join(f"{name}: {value:g}\n" for name, value in decay.items()))


@pytest.mark.parametrize("decays", ["all", "weights"])
@pytest.mark.parametrize("form", ["aggregated", "concatenated", "grouped"])
def test_every_parameter_is_optimised_once_under_its_decay(form: str, decays: str) -> None:
    network = build(SMALL, form)  # type: ignore[arg-type]
    wanted = settings(decays=decays)
    optimiser = make_optimiser(network, wanted)
    name_of = {parameter: name for name, parameter in network.named_parameters()}
    found = [(name_of[p], group["weight_decay"]) for group in optimiser.param_groups for p in group["params"]]
    assert sorted(found) == sorted(decay_of(network, wanted).items())


def test_the_optimiser_has_the_momentum_of_the_recipe_and_no_dampening(network: Network) -> None:
    optimiser = make_optimiser(network, settings(momentum=0.8, nesterov=True, learning_rate=0.3))
    for group in optimiser.param_groups:
        assert (group["momentum"], group["nesterov"], group["dampening"]) == (0.8, True, 0)
        assert group["lr"] == 0.3
        assert not group["maximize"]


def test_nesterov_without_momentum_is_plain_descent(network: Network) -> None:
    optimiser = make_optimiser(network, settings(momentum=0.0, nesterov=True))
    assert not any(group["nesterov"] for group in optimiser.param_groups)


@pytest.mark.parametrize("decays", ["all", "weights"])
@pytest.mark.parametrize("nesterov", [True, False])
def test_steps_are_those_of_the_formula(
    network: Network, relative_error: Callable[[Tensor, Tensor], float], nesterov: bool, decays: str
) -> None:
    rate, momentum, decay = 0.1, 0.9, 5e-4
    optimiser = make_optimiser(network, settings(momentum=momentum, nesterov=nesterov, decays=decays))
    expected = weights(network)
    velocity = {name: torch.zeros_like(weight) for name, weight in expected.items()}
    for seed in range(3):
        for name, gradient in gradients(network, seed).items():
            is_decayed = decays == "all" or expected[name].ndim > 1
            descent = gradient + (decay if is_decayed else 0.0) * expected[name]
            velocity[name] = momentum * velocity[name] + descent
            expected[name] = expected[name] - rate * (
                descent + momentum * velocity[name] if nesterov else velocity[name]
            )
        optimiser.step()
    for name, weight in weights(network).items():
        assert relative_error(weight, expected[name]) < 1e-14, name
