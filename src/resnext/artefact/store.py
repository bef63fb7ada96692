"""The file that is shipped: weights in safetensors, the manifest in its header, both under one SHA-256."""

import hashlib
import os
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from resnext.artefact.adapters import export_weights
from resnext.artefact.manifest import Manifest
from resnext.model.forms import skeleton
from resnext.model.network import Network
from resnext.spec.value import SpecError

SUFFIX = ".safetensors"

_MANIFEST, _DIGEST = "resnext.manifest", "resnext.sha256"


class ArtefactError(ValueError):
    """A file that is not an artefact, or not a whole one; the message says which."""


def save_artefact(path: Path, network: Network, manifest: Manifest) -> None:
    """Write an artefact so that at any moment the path holds the old file or the new one, whole.

    The weights are stored in form (c) and in single precision, whatever form and precision the network has.
    """
    tensors = {
        name: (tensor.float() if tensor.is_floating_point() else tensor).cpu()
        for name, tensor in export_weights(network).items()
    }
    words = manifest.to_json()
    write_atomically(path, save(tensors, metadata={_MANIFEST: words, _DIGEST: _digest(words, tensors)}))


def load_artefact(path: Path) -> tuple[Network, Manifest]:
    """Read an artefact: a network in evaluation mode, in form (c), and its manifest.

    Raises `ArtefactError` where the file is missing, is no artefact, is incomplete or was altered.
    """
    words, digest, tensors = _read(path)
    if _digest(words, tensors) != digest:
        raise ArtefactError(f"{path} was altered after it was written: its SHA-256 does not match")
    try:
        manifest = Manifest.from_json(words)
    except SpecError as error:
        raise ArtefactError(f"{path} holds a manifest that this version cannot read: {error}") from None
    network = skeleton(manifest.architecture)
    expected = {name: (tensor.shape, tensor.dtype) for name, tensor in network.state_dict().items()}
    if {name: (tensor.shape, tensor.dtype) for name, tensor in tensors.items()} != expected:
        raise ArtefactError(f"{path} does not hold the weights of the {manifest.architecture.name} that it names")
    network.load_state_dict(tensors, assign=True)
    return network.eval(), manifest


def write_atomically(path: Path, content: bytes) -> None:
    """Replace a file by new content, through a neighbour that is flushed to the disk and then renamed."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def _read(path: Path) -> tuple[str, str, dict[str, Tensor]]:
    if not path.is_file():
        raise ArtefactError(f"{path} does not exist or is not a file")
    try:
        with safe_open(path, framework="pt") as file:
            words = file.metadata() or {}
            if _MANIFEST not in words or _DIGEST not in words:
                raise ArtefactError(f"{path} holds weights but no resnext manifest; it is not an artefact")
            return words[_MANIFEST], words[_DIGEST], {name: file.get_tensor(name).clone() for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise ArtefactError(f"{path} is not a whole safetensors file: {error}") from None


def _digest(words: str, tensors: Mapping[str, Tensor]) -> str:
    total = hashlib.sha256(words.encode())
    for name in sorted(tensors):
        tensor = tensors[name].contiguous()
        total.update(f"\n{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        total.update(tensor.flatten().view(torch.uint8).numpy().data)
    return total.hexdigest()
