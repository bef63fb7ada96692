import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from resnext.data.loader import Batch
from resnext.data.mixing import Mix
from resnext.model.ghost_norm import ghost_norms
from resnext.spec.recipe import Recipe
from resnext.training.learner import Learner, NonFiniteLossError
from resnext.training.machine import Machine
from resnext.training.state import initial_state
from resnext.training.world import World

GROUP, BATCH, RATE = 8, 64, 0.05
CPU = torch.device("cpu")


def batch_of(number: int, seed: int = 0, mix: Mix | None = None) -> Batch:
    """Return images each brighter in the colour of its class."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(number) % 3
    pixels = torch.randint(100, (number, 3, 16, 16), generator=generator, dtype=torch.uint8)
    pixels[torch.arange(number), labels] += 60
    names = tuple(f"image{seed}-{i}" for i in range(number))
    colour = torch.eye(3, 4).expand(number, 3, 4) + 0.1 * torch.randn(number, 3, 4, generator=generator)
    return Batch(pixels=pixels, labels=labels, names=names, colour=colour, mix=mix)


@pytest.fixture
def learner(recipe: Recipe) -> Callable[..., Learner]:
    """Make a learner in double precision, of groups of eight images, with a moving average."""

    def make(group: int | None = GROUP, precision: str = "fp64", **fields: Any) -> Learner:
        grouped = recipe.replace(batch_size=BATCH, batch_norm_images=group, average_decay=0.9, label_smoothing=0.1)
        machine = Machine(device="cpu", precision=precision)  # type: ignore[arg-type]
        state = initial_state(grouped, 0, machine, CPU)
        state.network.train()
        fields = {"model": state.network, "autocast_dtype": machine.autocast_dtype(CPU), **fields}
        return Learner(state=state, recipe=grouped, world=World(), device=CPU, dtype=machine.dtype, **fields)

    return make


def take(learner: Learner, num_steps: int, number: int = BATCH) -> list[float]:
    return [learner.step(batch_of(number, seed), RATE).loss for seed in range(num_steps)]


def worst(learner: Learner, other: Learner, error: Callable[[Tensor, Tensor], float]) -> float:
    """Return the largest relative difference between tensors of two states."""
    these, those = learner.state.tensors(), other.state.tensors()
    assert these.keys() == those.keys()
    return max(error(these[name], those[name]) for name in those)


def is_equal(learner: Learner, other: Learner) -> bool:
    these, those = learner.state.tensors(), other.state.tensors()
    return these.keys() == those.keys() and all(torch.equal(these[name], those[name]) for name in those)


def memory_for(network: nn.Module, num_images: int) -> list[int]:
    """Let a network compute at most so many images at a time; return the sizes that were asked of it."""
    asked: list[int] = []

    def limit(_: nn.Module, given: tuple[Tensor, ...]) -> None:
        asked.append(len(given[0]))
        if len(given[0]) > num_images:
            raise RuntimeError("CUDA out of memory. Tried to allocate 20.00 MiB")

    network.register_forward_pre_hook(limit)
    return asked


@pytest.mark.parametrize("size", [8, 16, 24, 32])
def test_micro_batches_of_whole_groups_learn_what_the_whole_batch_learns(
    learner: Callable[..., Learner], relative_error: Callable[[Tensor, Tensor], float], size: int
) -> None:
    whole, parted = learner(), learner(micro_batch_size=size)
    losses = take(whole, 5)
    assert take(parted, 5) == pytest.approx(losses, rel=1e-12)
    assert worst(parted, whole, relative_error) < 1e-12
    assert parted.micro_batch_size == size


MIXES = [Mix(0.7), Mix(0.2), Mix(0.75, (4, 0, 8, 8))]


@pytest.mark.parametrize("size", [8, 24, 32])
def test_mixed_and_weighed_images_are_learnt_alike_in_parts(
    learner: Callable[..., Learner], relative_error: Callable[[Tensor, Tensor], float], size: int
) -> None:
    weights = torch.tensor([0.5, 1.0, 2.0], dtype=torch.float64)
    whole, parted = learner(class_weights=weights), learner(class_weights=weights, micro_batch_size=size)
    for seed, mix in enumerate(MIXES):
        losses = [one.step(batch_of(BATCH, seed, mix), RATE).loss for one in (whole, parted)]
        assert losses[1] == pytest.approx(losses[0], rel=1e-12)
    assert worst(parted, whole, relative_error) < 1e-12


def test_a_mix_of_which_an_image_is_the_whole_changes_nothing(learner: Callable[..., Learner]) -> None:
    mixed, plain = learner(), learner()
    losses = [mixed.step(batch_of(BATCH, 0, Mix(1.0)), RATE).loss, plain.step(batch_of(BATCH, 0), RATE).loss]
    assert losses[0] == losses[1]
    assert is_equal(mixed, plain)


def test_equal_weights_of_classes_scale_the_loss(learner: Callable[..., Learner]) -> None:
    double, plain = learner(class_weights=torch.full((3,), 2.0, dtype=torch.float64)), learner()
    batch = batch_of(BATCH, 0, Mix(0.6))
    assert double.step(batch, RATE).loss == pytest.approx(2 * plain.step(batch, RATE).loss, rel=1e-12)


def test_groups_learn_something_else_than_the_whole_batch(
    learner: Callable[..., Learner], relative_error: Callable[[Tensor, Tensor], float]
) -> None:
    grouped, whole = learner(), learner(group=BATCH)
    take(grouped, 2)
    take(whole, 2)
    assert worst(grouped, whole, relative_error) > 1e-3


@pytest.mark.parametrize(("limit", "size"), [(40, 32), (20, 16), (8, 8)])
def test_a_step_that_lacks_memory_is_taken_in_smaller_parts_to_the_same_end(
    learner: Callable[..., Learner], relative_error: Callable[[Tensor, Tensor], float], limit: int, size: int
) -> None:
    short, parted, whole = learner(), learner(micro_batch_size=size), learner()
    asked = memory_for(short.state.network, limit)
    for one in (short, parted, whole):
        take(one, 3)
    assert short.micro_batch_size == size
    assert is_equal(short, parted)
    assert worst(short, whole, relative_error) < 1e-12
    assert asked == [BATCH // 2**halved for halved in range((BATCH // size).bit_length() - 1)] + 3 * (BATCH // size) * [
        size
    ]


def test_what_was_computed_before_memory_ended_leaves_no_trace(learner: Callable[..., Learner]) -> None:
    short, parted = learner(micro_batch_size=32), learner(micro_batch_size=16)
    calls: list[int] = []

    def fail_in_the_second_part(_: nn.Module, given: tuple[Tensor, ...]) -> None:
        calls.append(len(given[0]))
        if len(calls) == 2:
            raise MemoryError

    short.state.network.register_forward_pre_hook(fail_in_the_second_part)
    take(short, 1)
    take(parted, 1)
    assert calls == [32, 32, 16, 16, 16, 16]
    assert is_equal(short, parted)


@pytest.mark.parametrize(("group", "advice"), [(GROUP, "with 8 images at a time"), (None, "--set batch_norm_images=")])
def test_where_the_batch_can_be_cut_no_further_that_is_said(
    learner: Callable[..., Learner], group: int | None, advice: str
) -> None:
    short, before = learner(group=group), learner(group=group)
    memory_for(short.state.network, 4)
    with pytest.raises(MemoryError, match=r"^out of memory at step 1\b") as caught:
        take(short, 1)
    assert advice in str(caught.value)
    assert str(caught.value).isprintable()
    assert (short.state.step, is_equal(short, before)) == (0, True)


def test_a_batch_that_is_no_multiple_of_the_group_is_never_cut_into_other_groups(
    learner: Callable[..., Learner], relative_error: Callable[[Tensor, Tensor], float]
) -> None:
    whole, short = learner(group=16), learner(group=16)
    memory_for(short.state.network, 30)
    take(whole, 1, number=40)
    try:
        take(short, 1, number=40)
    except MemoryError:
        return
    assert worst(short, whole, relative_error) < 1e-12


def test_an_error_that_is_not_of_memory_is_not_hidden(learner: Callable[..., Learner]) -> None:
    broken = learner()

    def fail(*_: object) -> None:
        raise RuntimeError("the network is broken")

    broken.state.network.register_forward_pre_hook(fail)
    with pytest.raises(RuntimeError, match="the network is broken"):
        take(broken, 1)
    assert broken.micro_batch_size is None


@pytest.mark.parametrize(("precision", "tolerance"), [("fp16", 2e-3), ("bf16", 1e-2)])
def test_mixed_precision_on_the_cpu_learns_and_keeps_weights_single(
    learner: Callable[..., Learner], precision: str, tolerance: float
) -> None:
    mixed, single = learner(precision=precision), learner(precision="fp32")
    batch = batch_of(BATCH)
    losses = [mixed.step(batch, RATE).loss for _ in range(15)]
    assert losses[0] == pytest.approx(single.step(batch, RATE).loss, rel=tolerance)
    assert losses[-1] < losses[0] - 0.3
    kept = mixed.state.tensors()
    assert {tensor.dtype for tensor in kept.values() if tensor.is_floating_point()} == {torch.float32}
    assert all(tensor.isfinite().all() for tensor in kept.values())
    assert (mixed.state.scaler is not None) == (precision == "fp16")


@pytest.mark.parametrize("precision", ["fp16", "bf16"])
def test_mixed_images_and_weighed_classes_are_learnt_in_mixed_precision(
    learner: Callable[..., Learner], precision: str
) -> None:
    mixed, single = (learner(precision=p, class_weights=torch.tensor([0.5, 1.0, 2.0])) for p in (precision, "fp32"))
    for mix in MIXES:
        losses = [one.step(batch_of(BATCH, 0, mix), RATE).loss for one in (mixed, single)]
        assert losses[0] == pytest.approx(losses[1], rel=2e-2)


@pytest.mark.parametrize("value", [float("inf"), float("nan")])
def test_a_loss_that_is_not_finite_names_every_image_and_moves_nothing(
    learner: Callable[..., Learner], value: float
) -> None:
    spoilt = learner(micro_batch_size=16)
    take(spoilt, 1)
    spoilt.state.network.head.bias.data[0] = value
    before = spoilt.state.tensors()
    with pytest.raises(NonFiniteLossError, match=r"at step 2\b") as caught:
        spoilt.step(batch_of(BATCH, seed=9), RATE)
    assert caught.value.names == batch_of(BATCH, seed=9).names
    assert (caught.value.step, spoilt.state.step) == (2, 1)
    after = spoilt.state.tensors()
    assert all(torch.equal(after[name].nan_to_num(), tensor.nan_to_num()) for name, tensor in before.items())


def test_running_statistics_move_once_a_step_whatever_the_number_of_parts(learner: Callable[..., Learner]) -> None:
    parted = learner(micro_batch_size=GROUP)
    take(parted, 3)
    norms = ghost_norms(parted.state.network)
    assert {int(norm.get_buffer("num_batches_tracked")) for norm in norms} == {3}
    assert {float(norm.get_buffer("num_seen")) for norm in norms} == {0.0}


def test_an_outcome_counts_the_images_of_all_parts(learner: Callable[..., Learner]) -> None:
    parted = learner(micro_batch_size=16)
    with torch.no_grad():
        parted.state.network.head.weight.zero_()
        parted.state.network.head.bias.copy_(torch.tensor([1.0, 0.0, 0.0]))
    outcome = parted.step(batch_of(BATCH), RATE)
    assert (outcome.num_images, outcome.num_correct) == (BATCH, (BATCH + 2) // 3)


def test_a_gradient_that_is_not_finite_under_a_finite_loss_takes_no_step(learner: Callable[..., Learner]) -> None:
    broken = learner()
    parameter = broken.state.network.head.weight
    parameter.register_hook(lambda gradient: gradient * math.nan)
    before = parameter.detach().clone()
    batch = batch_of(BATCH)
    with pytest.raises(NonFiniteLossError, match="the gradient stopped being finite at step 1, in epoch 0") as caught:
        broken.step(batch, RATE)
    assert caught.value.names == batch.names
    assert torch.equal(parameter, before)
    assert broken.state.step == 0
