"""What was measured on this machine, remembered from one process to the next."""

import hashlib
import json
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from resnext.artefact.sealed import write_atomically
from resnext.cache import cache_folder
from resnext.model.device import processor

_VERSIONS = ("resnext", "torch", "onnx", "onnxscript", "onnxruntime", "openvino")
_MOST_REMEMBERED = 1000


class Memory:
    """A file in the cache that holds plain values by keys; where it is damaged or cannot be written, there is none."""

    def __init__(self, name: str) -> None:
        self._name = name

    def path(self) -> Path:
        """Return where the file is. Raises `RuntimeError` where the user has no home."""
        return cache_folder() / f"{self._name}.json"

    def recall(self, key: str) -> Any:
        """Return what is held by a key; None where nothing is."""
        with suppress(OSError, RuntimeError, ValueError, RecursionError):
            held = json.loads(self.path().read_text())
            return held.get(key) if isinstance(held, dict) else None
        return None

    def remember(self, key: str, value: Any) -> None:
        """Keep a value for the next call; the oldest are forgotten once there are a thousand."""
        with suppress(OSError, RuntimeError):
            path, held = self.path(), {}
            with suppress(OSError, ValueError, TypeError):
                held = dict(json.loads(path.read_text()))
            held = dict([*held.items()][-_MOST_REMEMBERED:])
            held[key] = value
            path.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(path, json.dumps(held, indent=1).encode())


def key_of(network: nn.Module, example: Tensor, *asked: str) -> str:
    """Return a key for what was measured of a network on batches like the example.

    It changes with the processor, the number of threads, the versions, the layers, the shape and what was asked.
    """
    layers = [(name, tuple(tensor.shape)) for name, tensor in network.state_dict().items()]
    here = (processor(example.device), torch.get_num_threads(), [_version(package) for package in _VERSIONS])
    told = repr((here, type(network).__name__, layers, tuple(example.shape), *asked))
    return hashlib.sha256(told.encode()).hexdigest()[:16]


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
