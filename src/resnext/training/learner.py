"""One optimiser step: forward and backward passes over the parts of a batch, then the update."""

import math
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor, nn

from resnext.data.loader import Batch
from resnext.data.mixing import mixed, partners
from resnext.data.network_input import network_input
from resnext.model.device import is_out_of_memory
from resnext.model.ghost_norm import ghost_norms
from resnext.spec.recipe import Recipe, chosen
from resnext.training.heap import give_back_freed_memory, reserve
from resnext.training.objective import Target, cross_entropy
from resnext.training.state import TrainingState, follow
from resnext.training.world import World

_NUM_UNSETTLED_STEPS = 2  # in which libraries still put down what they keep


class NonFiniteLossError(ArithmeticError):
    """The loss, or its gradient, became infinite or not a number: before the step was taken, or at an epoch's scoring.

    `step` is the one that was not taken, or the one after which the epoch was scored; `names` are the images of the
    training batch, if it was one.
    """

    def __init__(self, message: str, step: int, names: tuple[str, ...] = ()) -> None:
        super().__init__(message)
        self.step = step
        self.names = names


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a step met in the whole batch, that of all processes: the mean loss before the step, in nats, and counts.

    `left_out` says which images could not be read.
    """

    num_images: int
    num_correct: int
    loss: float
    left_out: tuple[str, ...]


@dataclass(slots=True, kw_only=True)
class Learner:
    """Takes the steps of a recipe, in parts of at most `micro_batch_size` images where that is given.

    `model` computes what `state.network` does, compiled or in many processes. Parts hold whole groups of batch norm,
    so that their number changes rounding and memory alone; where memory ends, they are made smaller. `keeps_memory`
    goes with `heap.keep_freed_memory`; with `saves_memory` what is free is then given back after every step.
    `class_weights` (classes,) weigh the losses of images by their classes.
    """

    state: TrainingState
    recipe: Recipe
    model: nn.Module
    world: World
    device: torch.device
    dtype: torch.dtype
    autocast_dtype: torch.dtype | None = None
    micro_batch_size: int | None = None
    keeps_memory: bool = False
    saves_memory: bool = False
    class_weights: Tensor | None = None
    _num_taken: int = field(default=0, init=False)

    def enter_epoch(self) -> None:
        """Make the network ready to learn in the epoch under way, at its beginning or further on.

        While the recipe freezes it, all but the head is left as it is, the statistics of batch norm too.
        """
        network = self.state.network
        is_frozen = self.state.epoch <= chosen(self.recipe.fine_tuning.frozen_epochs, "fine_tuning.frozen_epochs")
        network.train(not is_frozen)
        network.head.train()
        body = [parameter for name, parameter in network.named_parameters() if not name.startswith("head.")]
        if any(parameter.requires_grad == is_frozen for parameter in body):
            for parameter in body:
                parameter.requires_grad_(not is_frozen)
            # The processes exchange the gradients of what learnt when they were joined.
            self.model = self.world.alone(self.model)
            self.model = self.world.replicated(self.model)
        if self.keeps_memory:
            reserve(self.state.optimiser)

    def step(self, batch: Batch, learning_rate: float) -> Outcome:
        """Take one step on this process's part of a batch.

        Raises `NonFiniteLossError` in place of the update where the loss is not finite, and `MemoryError` where
        memory ends and the batch can be cut no further.
        """
        state = self.state
        for group in state.optimiser.param_groups:
            group["lr"] = learning_rate * group["lr_scale"]
        sums = self.world.sum(self._gradients_within_memory(batch))
        loss_sum, num_correct, num_infinite, num_images, num_left_out = sums.tolist()
        if not math.isfinite(loss_sum):
            where = f"the loss became {loss_sum} at step {state.step + 1}, in epoch {state.epoch}"
            raise NonFiniteLossError(where, state.step + 1, _joined(self.world, batch.names))
        if num_infinite:
            where = f"the gradient stopped being finite at step {state.step + 1}, in epoch {state.epoch}"
            raise NonFiniteLossError(where, state.step + 1, _joined(self.world, batch.names))
        self._update()
        self._num_taken += 1
        if self.keeps_memory and (self.saves_memory or self._num_taken <= _NUM_UNSETTLED_STEPS):
            give_back_freed_memory()
        left_out = _joined(self.world, batch.left_out) if num_left_out else ()
        return Outcome(int(num_images), int(num_correct), loss_sum / num_images, left_out)

    def _gradients_within_memory(self, batch: Batch) -> Tensor:
        while True:
            try:
                return self._gradients(batch)
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error):
                    raise
                smaller = self._smaller(len(batch.labels))
                if smaller is None or self.world.size > 1:
                    raise MemoryError(self._advice(smaller)) from None
            self._forget()
            self.micro_batch_size = smaller

    def _gradients(self, batch: Batch) -> Tensor:
        """Add up the gradients of the mean loss and return what is to be summed over processes.

        That is the sum of losses, how many images were right, 1 where gradients are not finite, and how many images
        were read and unread. A GPU is waited for once.
        """
        images, target = self._examples(batch)
        size = self.micro_batch_size or len(images)
        parts = list(zip(torch.split(images, size), target.split(size), strict=True))
        self.state.optimiser.zero_grad(set_to_none=not self.keeps_memory)
        found: list[Tensor] = []
        for number, part in enumerate(parts, start=1):
            is_last = number == len(parts)
            with nullcontext() if is_last else self.world.without_exchange(self.model):
                found.append(self._backward(*part, len(images)))
        measured = torch.cat([*found, self._is_infinite().view(1).to(found[0].dtype)]).cpu().double()
        sums = measured[:-1].view(-1, 2).sum(dim=0)
        counts = torch.tensor([len(images), len(batch.left_out)], dtype=torch.float64)
        return torch.cat([sums, measured[-1:], counts])

    def _examples(self, batch: Batch) -> tuple[Tensor, Target]:
        """Return the network's input and what it is to answer, mixed where the batch is."""
        on_device = replace(batch, pixels=batch.pixels.to(self.device, non_blocking=True))
        images = network_input(on_device, self.recipe.training_preprocessing(), self.dtype)
        labels = batch.labels.to(self.device, non_blocking=True)
        if batch.mix is None:
            return images, Target(labels)
        places = partners(len(labels), self.recipe.batch_norm_images).to(self.device)
        return mixed(images, batch.mix, places), Target(labels, labels[places], batch.mix.weight)

    def _backward(self, images: Tensor, target: Target, num_images: int) -> Tensor:
        with self._autocast():
            logits = self.model(images)
            loss = cross_entropy(logits, target, self.recipe.label_smoothing, self.class_weights)
        mean = loss / num_images
        scaled = mean if self.state.scaler is None else self.state.scaler.scale(mean)
        torch.autograd.backward(scaled)
        num_correct = (logits.argmax(dim=1) == target.main).sum()
        return torch.stack((loss.detach(), num_correct.to(loss.dtype)))

    def _autocast(self) -> AbstractContextManager[None]:
        return torch.autocast(self.device.type, self.autocast_dtype, enabled=self.autocast_dtype is not None)

    def _update(self) -> None:
        state = self.state
        if state.scaler is None:
            state.optimiser.step()
        else:
            state.scaler.step(state.optimiser)
            state.scaler.update()
        norms = [norm for norm in ghost_norms(state.network) if norm.training]
        for norm in norms:
            norm.fold()
        self.world.average(statistic for norm in norms for statistic in norm.running_statistics)
        state.step += 1
        decay = chosen(self.recipe.average_decay, "average_decay")
        if state.average is not None and decay is not None:
            follow(state.average, state.network, decay, state.step)

    def _smaller(self, num_images: int) -> int | None:
        """Return the next smaller size of a part, of whole groups of batch norm; None where there is none."""
        group = self.recipe.batch_norm_images
        if group is None or num_images % group:
            return None
        half = min(self.micro_batch_size or num_images, num_images) // 2
        return half // group * group or None

    def _forget(self) -> None:
        self.state.optimiser.zero_grad(set_to_none=True)
        torch.zeros((), requires_grad=True).backward()  # type: ignore[no-untyped-call]  # frees the graph that failed
        for norm in ghost_norms(self.state.network):
            norm.forget()
        if self.device.type == "cuda":
            torch.cuda.empty_cache()

    def _is_infinite(self) -> Tensor:
        """Tell, on the device, whether no step may be taken; under a scaler it looks after that itself."""
        if self.state.scaler is not None:
            return torch.zeros((), device=self.device)
        gradients = [parameter.grad for parameter in self.state.network.parameters() if parameter.grad is not None]
        return ~nn.utils.get_total_norm(gradients).isfinite()

    def _advice(self, smaller: int | None) -> str:
        group = self.recipe.batch_norm_images
        if smaller is not None:
            return (
                f"process {self.world.rank}: out of memory at step {self.state.step + 1}; several processes do not take"
                f" a step again, go on with --micro-batch {smaller} --resume"
            )
        if group is None:
            return (
                f"out of memory at step {self.state.step + 1}; batch norm takes its statistics from the whole batch,"
                " so that it cannot be cut: --set batch_norm_images=16 lets it be, a smaller batch_size, image.size or"
                " model needs less"
            )
        return (
            f"out of memory at step {self.state.step + 1} with {group} images at a time, those of one batch norm;"
            " a smaller batch_norm_images, image.size or model needs less"
        )


def _joined(world: World, part: tuple[str, ...]) -> tuple[str, ...]:
    """Return the parts of all processes, by rank."""
    return tuple(text for gathered in world.gather(part) for text in gathered)
