import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from resnext.model.forms import tensor_names
from resnext.model.ghost_norm import GhostNorm
from resnext.spec.plan import Form
from resnext.spec.recipe import Recipe
from resnext.training.machine import Machine, Precision
from resnext.training.state import Position, Tally, TrainingState, initial_state

CPU = torch.device("cpu")
FORMS: tuple[Form, ...] = ("aggregated", "concatenated", "grouped")


def fresh(recipe: Recipe, form: Form = "grouped", precision: Precision = "fp64", seed: int = 0) -> TrainingState:
    return initial_state(recipe, seed, Machine(device="cpu", form=form, precision=precision), CPU)


def trained(recipe: Recipe, form: Form = "grouped", precision: Precision = "fp64") -> TrainingState:
    """Return a state all of whose parts were moved by two steps."""
    state = fresh(recipe, form, precision)
    generator = torch.Generator().manual_seed(1)
    for _ in range(2):
        for parameter in state.network.parameters():
            parameter.grad = torch.randn(parameter.shape, generator=generator, dtype=parameter.dtype)
        state.optimiser.step()
    for network in filter(None, (state.network, state.average)):
        for name, tensor in network.state_dict().items():
            if tensor.is_floating_point():
                tensor.add_(torch.rand(tensor.shape, generator=generator, dtype=tensor.dtype))
            elif name.endswith("num_batches_tracked"):
                tensor.fill_(2)
    state.epoch, state.step, state.is_epoch_done = 1, 2, False
    state.tally = Tally(16, 7, 1 / 3, 0.25)
    return state


def is_same(these: dict[str, Tensor], those: dict[str, Tensor]) -> bool:
    assert these.keys() == those.keys()
    return all(torch.equal(tensor, those[name]) for name, tensor in these.items())


@pytest.mark.parametrize("source", FORMS)
@pytest.mark.parametrize("target", FORMS)
def test_a_state_comes_back_bit_for_bit_in_any_form(demanding: Recipe, source: Form, target: Form) -> None:
    state, other = trained(demanding, source), fresh(demanding, target, seed=9)
    assert not torch.equal(other.network.head.weight, state.network.head.weight)
    other.restore(state.position(), state.tensors())
    assert other.network.form == target
    assert is_same(other.tensors(), state.tensors())
    assert other.position() == state.position()


@pytest.mark.parametrize("form", FORMS)
def test_what_a_state_holds_has_the_names_of_the_grouped_form(demanding: Recipe, form: Form) -> None:
    names = tensor_names(demanding.network())
    parameters = [name for name in names if not name.endswith(("running_mean", "running_var", "num_batches_tracked"))]
    expected = [f"{part}.{name}" for part in ("network", "average") for name in names]
    assert sorted(trained(demanding, form).tensors()) == sorted(expected + [f"momentum.{n}" for n in parameters])


def test_a_state_in_single_precision_comes_back_bit_for_bit(demanding: Recipe) -> None:
    state, other = trained(demanding, precision="fp32"), fresh(demanding, precision="fp32", seed=9)
    other.restore(state.position(), state.tensors())
    assert is_same(other.tensors(), state.tensors())
    momentum = [other.optimiser.state[parameter]["momentum_buffer"] for parameter in other.network.parameters()]
    assert [buffer.stride() for buffer in momentum] == [p.stride() for p in other.network.parameters()]


def test_before_the_first_step_there_is_no_momentum(demanding: Recipe) -> None:
    assert not [name for name in fresh(demanding).tensors() if name.startswith("momentum")]


def test_a_state_that_has_momentum_can_go_back_to_one_that_has_none(demanding: Recipe) -> None:
    state, first = trained(demanding), fresh(demanding)
    state.restore(first.position(), first.tensors())
    assert is_same(state.tensors(), first.tensors())


def test_tensors_are_copies_that_training_does_not_change(demanding: Recipe) -> None:
    state = trained(demanding)
    held = state.tensors()
    before = {name: tensor.clone() for name, tensor in held.items()}
    state.optimiser.step()
    for tensor in state.network.state_dict().values():
        tensor.zero_()
    assert is_same(held, before)


@given(
    epoch=st.integers(0, 10**6),
    step=st.integers(0, 10**12),
    is_done=st.booleans(),
    loss_sum=st.floats(0, 1e9),
    scale=st.none() | st.floats(1e-6, 1e9),
)
def test_a_position_survives_json_to_the_last_bit(
    epoch: int, step: int, is_done: bool, loss_sum: float, scale: float | None
) -> None:
    scaler = None if scale is None else {"scale": scale, "growth_factor": 2.0, "_growth_tracker": 3}
    position = Position(
        epoch=epoch,
        step=step,
        is_epoch_done=is_done,
        num_images=step,
        num_correct=epoch,
        loss_sum=loss_sum,
        train_seconds=loss_sum / 7,
        scaler=scaler,
    )
    back = Position.from_json(position.to_json())
    assert back == position
    assert back.scaler is None or isinstance(back.scaler["_growth_tracker"], int)


def test_a_scaler_comes_back(demanding: Recipe) -> None:
    state, other = fresh(demanding, precision="fp16"), fresh(demanding, precision="fp16")
    assert state.scaler is not None and other.scaler is not None
    state.scaler.load_state_dict({**state.scaler.state_dict(), "scale": 1024.0, "_growth_tracker": 17})
    other.restore(Position.from_json(state.position().to_json()), state.tensors())
    assert other.scaler.state_dict() == state.scaler.state_dict()
    assert other.scaler.scale(torch.tensor(1.0)).item() == 1024.0


def test_a_state_may_go_on_with_or_without_a_scaler(demanding: Recipe) -> None:
    half, single = fresh(demanding, precision="fp16"), fresh(demanding, precision="fp32")
    single.restore(half.position(), half.tensors())
    half.restore(single.position(), single.tensors())
    assert half.scaler is not None and half.scaler.get_scale() > 0
    assert single.scaler is None


def test_an_epoch_begins_with_nothing_added_up(demanding: Recipe) -> None:
    state = trained(demanding)
    state.begin_epoch()
    assert (state.epoch, state.step, state.is_epoch_done, state.tally) == (2, 2, False, Tally())


@pytest.mark.parametrize("form", FORMS)
def test_the_first_state_is_drawn_from_the_seed_alone(demanding: Recipe, form: Form) -> None:
    torch.manual_seed(5)
    state = fresh(demanding, form)
    assert is_same(state.tensors(), fresh(demanding).tensors())
    assert (state.epoch, state.step, state.is_epoch_done) == (0, 0, True)
    assert state.average is not None
    average, network = state.average.state_dict(), state.network.state_dict()
    assert is_same(average, network)
    assert not {t.data_ptr() for t in average.values()} & {t.data_ptr() for t in network.values()}
    assert not state.average.training
    assert not any(parameter.requires_grad for parameter in state.average.parameters())


def norms(network: nn.Module) -> set[type[nn.Module]]:
    return {type(module) for module in network.modules() if isinstance(module, nn.BatchNorm2d)}


def test_groups_and_the_average_are_there_where_the_recipe_asks_for_them(recipe: Recipe, demanding: Recipe) -> None:
    plain, full = fresh(recipe), fresh(demanding)
    assert (norms(plain.network), plain.average, plain.scaler) == ({nn.BatchNorm2d}, None, None)
    assert norms(full.network) == {GhostNorm}
    assert full.average is not None
    assert norms(full.average) == {nn.BatchNorm2d}
