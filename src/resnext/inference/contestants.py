"""Who is measured: a network in every setting that its users may run it in, ours and other libraries'."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, partial
from itertools import chain
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor, nn

from resnext.artefact.adapters import export_weights
from resnext.artefact.manifest import Manifest
from resnext.inference.engine import EngineName, FloatPrecision, Precision, precisions_here
from resnext.inference.engines import Ready
from resnext.inference.exported import runtime_of
from resnext.inference.load import load
from resnext.inference.peers import timm_network, torchvision_network
from resnext.inference.torch_program import is_program
from resnext.model.network import Network

Run = Callable[[], Tensor]
Library = Literal["resnext", "torchvision", "timm"]


@dataclass(frozen=True)
class Workload:
    """What is measured: a network in evaluation mode, and a batch of its input on the CPU."""

    network: Network
    example: Tensor

    @cached_property
    def ready(self) -> Ready:
        """The network made ready for engines, once for all of them."""
        return Ready(self.network, self.example)


@dataclass(frozen=True, slots=True, kw_only=True)
class Contestant:
    """A framework, or who else calls it, and a setting of it; `make` returns what computes the logits of a batch once.

    `engine` is the one of ours that it is, where it is one, and `file` the exported one, which brings its own network;
    `has_same_weights`, and so should have the same logits, or is of the same architecture alone. `make` is a function
    of a module, or a `partial` of one, so that another process can be handed it. It raises `ValueError` where the
    contestant cannot be had.
    """

    framework: str
    setting: str
    precision: Precision
    make: Callable[[Workload], Run]
    engine: EngineName | None = None
    file: Path | None = None
    has_same_weights: bool = True

    @property
    def name(self) -> str:
        """Framework and setting in words."""
        return f"{self.framework} {self.setting}"


def contestants(*, compiled: bool = False) -> tuple[Contestant, ...]:
    """Return our engines beside the peers, in each precision of this processor; those to be compiled where asked for.

    A peer is measured as most run it, eager, and in its best honest setting: batch normalisation folded, channels_last,
    and compiled, with frozen weights. Our own module comes eager too.
    """
    return tuple(chain.from_iterable(_of_precision(precision, compiled) for precision in precisions_here()))


def _of_precision(precision: FloatPrecision, compiled: bool) -> list[Contestant]:
    engines: tuple[EngineName, ...] = ("torch", "compiled") if compiled else ("torch",)
    found = []
    for library in ("torchvision", "timm"):
        if precision == "fp32":
            found.append(_eager(library))
        found += [_peer_on(library, engine, precision) for engine in engines]
    if precision == "fp32":
        found.append(_eager("resnext"))
    own: tuple[EngineName, ...] = (*engines, "onnxruntime", "openvino")
    return found + [
        Contestant(
            framework="resnext",
            setting=engine,
            precision=precision,
            make=partial(ours, engine, precision),
            engine=engine,
        )
        for engine in own
    ]


def _eager(library: Library) -> Contestant:
    return Contestant(framework=library, setting="eager", precision="fp32", make=partial(eager, library))


def _peer_on(library: Library, engine: EngineName, precision: FloatPrecision) -> Contestant:
    setting = "channels_last, folded" if engine == "torch" else "compiled, frozen"
    return Contestant(
        framework=library, setting=setting, precision=precision, make=partial(tuned, library, engine, precision)
    )


def is_exported(name: str | Path) -> bool:
    """Tell whether a path is written as one of a file that `open_file` takes."""
    return runtime_of(name) is not None or is_program(name)


def open_file(path: Path, *, has_same_weights: bool) -> tuple[Contestant, Manifest]:
    """Return a file of ONNX, OpenVINO or torch.export, on its own runtime and in its own precision, and its manifest.

    Raises `ArtefactError` and `EngineError` as `load` does.
    """
    opened = load(path, "cpu", batch_size=1)
    contestant = Contestant(
        framework="resnext",
        setting=str(path),
        precision=opened.engine.precision,
        make=partial(exported, path),
        file=path,
        has_same_weights=has_same_weights,
    )
    return contestant, opened.manifest


def exported(path: Path, workload: Workload) -> Run:
    """Open an exported file, for batches of the workload's size."""
    return partial(load(path, "cpu", batch_size=len(workload.example)).engine, workload.example)


def ours(engine: EngineName, precision: FloatPrecision, workload: Workload) -> Run:
    """Make the network on one of our engines."""
    return partial(workload.ready.engine(engine, precision), workload.example)


def eager(library: Library, workload: Workload) -> Run:
    """Make a library's network, as it is."""
    return partial(answer, peer(library, workload.network), workload.example)


def tuned(library: Library, engine: EngineName, precision: FloatPrecision, workload: Workload) -> Run:
    """Make a library's network in torch, folded, channels_last, and compiled where the engine is that."""
    ready = Ready(peer(library, workload.network), workload.example)
    return partial(ready.engine(engine, precision), workload.example)


def peer(library: Library, network: Network) -> nn.Module:
    """Return a network as a library builds it, with the same weights; as it is where the library is this one.

    Raises `EngineError` where the library is not installed or does not have the network.
    """
    if library == "resnext":
        return network
    theirs = {"torchvision": torchvision_network, "timm": timm_network}[library](network.architecture)
    theirs.load_state_dict(export_weights(network, naming=library), strict=True)
    return theirs


@torch.inference_mode()
def answer(network: nn.Module, images: Tensor) -> Tensor:
    """Compute logits."""
    return network(images)  # type: ignore[no-any-return]
