"""Whole networks made ready to be timed on a GPU: torchvision's and timm's in their best honest settings, and ours.

All compute in bf16 on channels_last maps that lie on the device, with cuDNN's own search for its fastest way.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from resnext.data.loader import Batch
from resnext.inference.engine import EngineName
from resnext.inference.engines import Ready
from resnext.model.forms import build
from resnext.spec.recipe import read_recipe
from resnext.training.learner import Learner
from resnext.training.machine import Machine
from resnext.training.state import initial_state
from resnext.training.world import World

Kind = Literal["inference", "latency", "training"]
Run = Callable[[], Any]

LEARNING_RATE = 1e-3
NUM_CLASSES = 1000

_CHECKED_IMAGES = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """What is timed: batches of one size through a network, at once or one after the other, or training steps."""

    kind: Kind
    network: str
    batch_size: int
    image_size: int
    device: torch.device

    @property
    def is_training(self) -> bool:
        """Whether weights are learnt."""
        return self.kind == "training"

    def images(self) -> Tensor:
        """Draw a batch, normalised: bf16 to answer, fp32 to learn from, as mixed precision has it."""
        shape = (self.batch_size, 3, self.image_size, self.image_size)
        images = torch.randn(shape, device=self.device).contiguous(memory_format=torch.channels_last)
        return images if self.is_training else images.bfloat16()

    def labels(self) -> Tensor:
        """Draw labels."""
        return torch.randint(NUM_CLASSES, (self.batch_size,), device=self.device)


@dataclass(frozen=True, slots=True)
class Made:
    """A contestant: what computes once, what is told of it, and whether its memory lies in the pool of a CUDA graph."""

    run: Run
    facts: dict[str, Any] = field(default_factory=dict)
    is_graph: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Contestant:
    """A way to compute a task, made only when it is its turn, from those made before; it needs so many seconds."""

    name: str
    make: Callable[[Task, Mapping[str, Made]], Made]
    least_seconds: float


def torchvision_network(name: str) -> nn.Module:
    """Make torchvision's network with random weights."""
    from torchvision.models import get_model  # noqa: PLC0415 - others do without

    torch.manual_seed(0)
    return get_model(name, weights=None)  # type: ignore[no-any-return, unused-ignore]


def timm_network(name: str) -> nn.Module:
    """Make timm's network with random weights."""
    import timm  # noqa: PLC0415 - others do without

    torch.manual_seed(0)
    return timm.create_model(name, pretrained=False)  # type: ignore[no-any-return, unused-ignore]


def plain(library: Callable[[str], nn.Module], compile_mode: str | None, task: Task, _: Mapping[str, Made]) -> Made:
    """Make a library's network eager, or compiled in a mode, with explicit channels_last."""
    network = library(task.network).to(task.device).to(memory_format=torch.channels_last)

    def ready(given: nn.Module) -> nn.Module:
        return given if compile_mode is None else torch.compile(given, dynamic=False, mode=compile_mode)  # type: ignore[return-value]

    if task.is_training:
        return Made(training_step(ready(network.train()), task))
    images = task.images()
    expected = answers(network.eval(), images)
    run = partial(answer, ready(network.bfloat16()), images)
    return Made(run, {"error": error_of(run(), expected)})


@torch.inference_mode()
def answer(network: nn.Module, images: Tensor) -> Tensor:
    """Compute logits."""
    return network(images)  # type: ignore[no-any-return]


def answers(network: nn.Module, images: Tensor) -> Tensor:
    """Compute the logits of the first images in fp32, eager: what the others are compared with."""
    searches, torch.backends.cudnn.benchmark = torch.backends.cudnn.benchmark, False
    try:
        return answer(network, images[:_CHECKED_IMAGES].float())
    finally:
        torch.backends.cudnn.benchmark = searches


def error_of(found: Tensor, expected: Tensor) -> float:
    """Return the norm of the difference of logits over the norm of what is expected."""
    return float((found[: len(expected)].float() - expected).norm() / expected.norm())


def training_step(network: nn.Module, task: Task) -> Run:
    """Return a step of SGD with momentum in mixed precision, which returns its loss, not waited for."""
    images, labels = task.images(), task.labels()
    optimiser = torch.optim.SGD(
        network.parameters(), lr=LEARNING_RATE, momentum=0.9, weight_decay=1e-4, nesterov=True, fused=True
    )

    def step() -> Tensor:
        optimiser.zero_grad(set_to_none=True)
        with torch.autocast(task.device.type, torch.bfloat16):
            loss = F.cross_entropy(network(images), labels)
        torch.autograd.backward(loss)
        optimiser.step()
        return loss.detach()

    return step


def graph(of: str, task: Task, made: Mapping[str, Made]) -> Made:
    """Capture another contestant in a CUDA graph, whole training steps too."""
    if of not in made:
        raise RuntimeError(f"{of} was not made")
    run, aside = made[of].run, torch.cuda.Stream()  # type: ignore[no-untyped-call, unused-ignore]
    aside.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(aside):
        for _ in range(3):
            run()
    torch.cuda.current_stream().wait_stream(aside)
    torch.cuda.synchronize()
    captured = torch.cuda.CUDAGraph()
    with torch.cuda.graph(captured):
        result = run()

    def replay() -> Any:
        captured.replay()
        return result

    if task.is_training:
        return Made(replay, is_graph=True)
    expected = run()[:_CHECKED_IMAGES].float()
    return Made(replay, {"difference_from_captured": error_of(replay(), expected)}, is_graph=True)


def engine(name: EngineName, task: Task, _: Mapping[str, Made]) -> Made:
    """Make our network on one of our engines, as `resnext.accelerate` does."""
    images = task.images()
    network = build(task.network, generator=torch.Generator().manual_seed(0)).to(task.device).eval()
    expected = answers(network, images)
    ready = Ready(network, images.float())
    num_norms = sum(isinstance(module, nn.BatchNorm2d) for module in ready.network.modules())
    run = partial(ready.engine(name, "bf16"), images)
    return Made(run, {"error": error_of(run(), expected), "norms_not_folded": num_norms})


def our_step(task: Task, _: Mapping[str, Made], *, norm_images: int | None, place: str, compiles: bool) -> Made:
    """Make our training step as `resnext train` takes it; the bytes of the batch lie at a `place`, the host or device.

    It waits for its loss, the share that is right and the norm of the gradient, as a run does.
    """
    changed = {"model": task.network, "batch_size": task.batch_size, "batch_norm_images": norm_images}
    recipe = read_recipe("paper-imagenet", {**changed, "image": {"size": task.image_size}})
    machine = Machine(device=task.device.type, compiles=compiles)
    state = initial_state(recipe, 0, machine, task.device)
    state.begin_epoch()
    learner = Learner(
        state=state,
        recipe=recipe,
        model=torch.compile(state.network) if compiles else state.network,  # type: ignore[arg-type]
        world=World(),
        device=task.device,
        dtype=machine.dtype,
        autocast_dtype=machine.autocast_dtype(task.device),
    )
    learner.enter_epoch()
    pixels = torch.randint(256, (task.batch_size, task.image_size, task.image_size, 3), dtype=torch.uint8)
    target = task.device if place == "device" else torch.device("cpu")
    batch = Batch(pixels=pixels.permute(0, 3, 1, 2).to(target), labels=task.labels().to(target), names=())
    return Made(lambda: torch.tensor(learner.step(batch, LEARNING_RATE).loss))


EAGER, COMPILED = "torchvision eager", "torchvision compiled"
_TORCHVISION = Contestant(name=EAGER, make=partial(plain, torchvision_network, None), least_seconds=4)
_TIMM = Contestant(name="timm eager", make=partial(plain, timm_network, None), least_seconds=4)
_GRAPH = Contestant(name=f"{EAGER}, CUDA graph", make=partial(graph, EAGER), least_seconds=4)


def _compiled(least_seconds: float) -> tuple[Contestant, Contestant]:
    make = partial(plain, torchvision_network, "default")
    return (
        Contestant(name=COMPILED, make=make, least_seconds=least_seconds),
        Contestant(name=f"{COMPILED}, CUDA graph", make=partial(graph, COMPILED), least_seconds=4),
    )


def _step(name: str, least_seconds: float = 6, **how: Any) -> Contestant:
    how = {"norm_images": None, "place": "host", "compiles": False, **how}
    return Contestant(name=name, make=partial(our_step, **how), least_seconds=least_seconds)


_OURS = Contestant(name="resnext, engine torch", make=partial(engine, "torch"), least_seconds=5)
_OURS_COMPILED = Contestant(name="resnext, engine compiled", make=partial(engine, "compiled"), least_seconds=30)
_ENGINE_GRAPH = Contestant(name="resnext, engine torch, CUDA graph", make=partial(graph, _OURS.name), least_seconds=4)

CONTESTANTS: Mapping[Kind, tuple[Contestant, ...]] = {
    "inference": (_TORCHVISION, _TIMM, _OURS, _GRAPH, _ENGINE_GRAPH, *_compiled(30), _OURS_COMPILED),
    "latency": (_TORCHVISION, _TIMM, _OURS, _GRAPH, _ENGINE_GRAPH, *_compiled(30)),
    "training": (
        _TORCHVISION,
        _TIMM,
        _step("resnext"),
        _step("resnext, bytes on the device", place="device"),
        _step("resnext, batch norm of 32 images", norm_images=32, place="device"),
        _GRAPH,
        *_compiled(50),
    ),
}
LATE: Mapping[Kind, tuple[Contestant, ...]] = {
    "inference": (),
    "latency": (_OURS_COMPILED,),
    "training": (_step("resnext, compiled", 60, place="device", compiles=True),),
}


def autotuned(task: Task) -> Made:
    """Make torchvision's network compiled with mode max-autotune, which may take minutes."""
    return plain(torchvision_network, "max-autotune", task, {})
