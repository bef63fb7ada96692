"""The processes of one run, on one machine or many: the only file that knows torch.distributed.

`torchrun` starts the processes and starts them again after a failure; torch.distributed carries what they exchange.
One process alone is a world of size 1, in which nothing is exchanged.
"""

import gc
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, replace
from datetime import timedelta
from inspect import signature
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.distributed_c10d import PrefixStore
from torch.distributed.rendezvous import rendezvous
from torch.nn.parallel import DistributedDataParallel

from resnext.model.device import pick_device

TIMEOUT = "RESNEXT_TIMEOUT_SECONDS"

_DEFAULT_TIMEOUT_SECONDS = 1800
_LOST = ("/dev/shm", "gloo", "nccl", "connection closed", "connection reset", "broken pipe", "timed out")

# What GhostNorm holds is averaged after each step instead. torch 2.14 gave the argument another name.
_ARGUMENTS = signature(DistributedDataParallel).parameters
_NO_BROADCAST: dict[str, Any] = {
    "forward_sync_buffers" if "forward_sync_buffers" in _ARGUMENTS else "broadcast_buffers": False
}

Result = TypeVar("Result")


class WorldError(OSError):
    """Another process of the run did not come, or is gone; the message says what to do."""


@dataclass(frozen=True, slots=True)
class World:
    """This process among all of the run: number `rank` of `size`, and number `local_rank` on its machine.

    `num_restarts` is how often all have been started again after one failed, `launch` what torchrun calls all of that.
    """

    rank: int = 0
    size: int = 1
    local_rank: int = 0
    num_restarts: int = 0
    launch: str = ""

    @property
    def is_first(self) -> bool:
        """Whether this process speaks and writes for all."""
        return self.rank == 0

    def device(self, name: str) -> torch.device:
        """Return the device of a name as `pick_device` does; each process of a machine has a GPU of its own.

        Raises `ValueError` where the name is unknown or pins several processes to one GPU, `WorldError` where a machine
        has fewer GPUs than processes.
        """
        device = pick_device(name)
        if device.type == "cuda" and self.size > 1:
            if device.index is not None:
                raise ValueError(f"device = {name!r}: {self.size} processes have a GPU each; give cuda or auto")
            if self.local_rank >= torch.cuda.device_count():
                raise WorldError(
                    f"process {self.rank}: this machine has {torch.cuda.device_count()} GPUs, fewer than the processes"
                    " started on it; lower --nproc-per-node"
                )
            device = torch.device("cuda", self.local_rank)
            torch.cuda.set_device(device)
        return device

    def first(self, function: Callable[[], Result]) -> Result:
        """Call a function in the first process alone; every process gets its result, or raises its error."""
        if self.size == 1:
            return function()
        outcome: list[Result | Exception | None] = [None]
        if self.is_first:
            outcome = [_attempted(function)]
        dist.broadcast_object_list(outcome)
        if isinstance(outcome[0], Exception):
            raise outcome[0]
        return outcome[0]  # type: ignore[return-value]

    def first_before_others(self, function: Callable[[], Result]) -> Result:
        """Call a function in every process, first in the first, so that the others find what it leaves on the disk."""
        made: list[Result] = []
        self.first(lambda: made.append(function()))
        return made[0] if made else function()

    def gather(self, value: Result) -> list[Result]:
        """Return the values of all processes, by rank."""
        if self.size == 1:
            return [value]
        values: list[Result | None] = [None] * self.size
        dist.all_gather_object(values, value)
        return values  # type: ignore[return-value]

    def sum(self, values: Tensor) -> Tensor:
        """Return the sum over all processes of tensors of one shape."""
        if self.size > 1:
            dist.all_reduce(values)
        return values

    def greatest(self, number: int) -> int:
        """Return the greatest of the numbers that processes have."""
        if self.size == 1:
            return number
        numbers = torch.tensor(number)
        dist.all_reduce(numbers, dist.ReduceOp.MAX)
        return int(numbers)

    def any(self, is_so: bool) -> bool:
        """Tell whether something is so in any process."""
        return bool(self.greatest(int(is_so)))

    @torch.no_grad()
    def average(self, tensors: Iterable[Tensor]) -> None:
        """Replace tensors by their means over all processes, in place."""
        together = list(tensors)
        if self.size == 1 or not together:
            return
        mean = self.sum(torch.cat([tensor.flatten() for tensor in together])) / self.size
        for tensor, part in zip(together, torch.split(mean, [tensor.numel() for tensor in together]), strict=True):
            tensor.copy_(part.view_as(tensor))

    def replicated(self, network: nn.Module) -> nn.Module:
        """Return a module that computes as the network does and averages gradients over all processes."""
        if self.size == 1:
            return network
        gc.collect()  # a replica of it that was just dropped would still answer to its gradients
        return DistributedDataParallel(network, **_NO_BROADCAST)

    def alone(self, network: nn.Module) -> nn.Module:
        """Return the module that was replicated."""
        return network.module if isinstance(network, DistributedDataParallel) else network

    def without_exchange(self, network: nn.Module) -> AbstractContextManager[None]:
        """Within this context, gradients of a replicated network are added up and not yet averaged."""
        return network.no_sync() if isinstance(network, DistributedDataParallel) else nullcontext()


@contextmanager
def join_world() -> Iterator[World]:
    """Join the processes that `torchrun` announced in the environment; alone where it announced none.

    Raises `WorldError` where processes do not come in time, and in place of what torch.distributed raises when one is
    lost on the way.
    """
    rank, size, local_rank = _number("RANK", 0), _number("WORLD_SIZE", 1), _number("LOCAL_RANK", 0)
    num_restarts = _number("TORCHELASTIC_RESTART_COUNT", 0)
    world = World(rank, size, local_rank, num_restarts, os.environ.get("TORCHELASTIC_RUN_ID", ""))
    if size == 1:
        yield world
        return
    _assemble(world)
    try:
        # A node that only saw another one start again does not count it.
        yield replace(world, num_restarts=max(world.gather(num_restarts)))
    except (RuntimeError, dist.DistError) as error:
        if not any(word in str(error).lower() for word in _LOST):
            raise
        raise WorldError(_lost(world, str(error))) from None
    finally:
        gc.collect()  # a replicated network that outlives the group makes it end the process in disorder
        dist.destroy_process_group()


def _assemble(world: World) -> None:
    keeps_store = os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True"
    if keeps_store and _number("GROUP_WORLD_SIZE", 1) > 1 and _number("TORCHELASTIC_MAX_RESTARTS", 0) > 0:
        raise WorldError(
            "several nodes that may be started again need TORCH_DISABLE_SHARE_RDZV_TCP_STORE=1 in the environment of"
            " every torchrun, or they would look for processes that are gone; without it give --max-restarts 0"
        )
    seconds = float(os.environ.get(TIMEOUT, _DEFAULT_TIMEOUT_SECONDS))
    backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
    try:
        timeout = timedelta(seconds=seconds)
        store, rank, size = next(rendezvous("env://", world.rank, world.size, timeout=timeout))
        # One store kept over all restarts still holds the addresses of processes that are gone.
        own = PrefixStore(f"restart-{world.num_restarts}", store) if keeps_store else store
        dist.init_process_group(backend, timeout=timeout, store=own, rank=rank, world_size=size)
        dist.barrier()
    except (RuntimeError, ValueError, dist.DistError) as error:
        raise WorldError(
            f"process {world.rank} could not meet all {world.size} processes of the run within {seconds:g} s"
            f" ({str(error).partition(chr(10))[0]}); start every one, with the same MASTER_ADDR and MASTER_PORT;"
            f" {TIMEOUT} in the environment changes how long they are waited for"
        ) from None


def _number(name: str, default: int) -> int:
    return int(os.environ.get(name, default))


def _lost(world: World, said: str) -> str:
    """Say what became of the others, and what to do."""
    what = f"process {world.rank} of {world.size} lost another one ({said.partition(chr(10))[0]})"
    if "/dev/shm" in said:
        return (
            f"{what}: shared memory is full; make /dev/shm larger (docker run --shm-size=1g) or set NCCL_SHM_DISABLE=1"
        )
    return f"{what}; torchrun --max-restarts starts all of them again, and training goes on from the last checkpoint"


def _attempted(function: Callable[[], Result]) -> Result | Exception:
    try:
        return function()
    except Exception as error:
        return error
