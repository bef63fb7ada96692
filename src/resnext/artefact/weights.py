"""Weights by one string: an artefact, a bare state dict, `torchvision:WEIGHTS`, `hf:REPO` or `hf:./FOLDER`."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from resnext.artefact.adapters import unwrap
from resnext.artefact.address import KINDS, MAX_BYTES, STATE_DICTS, SUFFIX, as_folder
from resnext.artefact.hub import fetch_files
from resnext.artefact.hub_config import Described, read_config
from resnext.artefact.manifest import Manifest
from resnext.artefact.recognise import recognise
from resnext.artefact.sealed import digest_of
from resnext.artefact.store import ArtefactError, load_artefact
from resnext.artefact.torchvision_weights import published
from resnext.model.forms import skeleton
from resnext.model.network import Network
from resnext.spec.architecture import Architecture
from resnext.spec.preprocessing import Preprocessing

_ZIP = b"PK\x03\x04"


@dataclass(frozen=True, slots=True, kw_only=True)
class Weights:
    """Trained weights, and what is known of them.

    `tensors` are named and shaped as in the grouped form, in single precision; a head may be missing. `digest` is the
    SHA-256 of their names, types, shapes and bytes. `manifest` is what an artefact says of itself.
    """

    origin: str
    architecture: Architecture
    tensors: Mapping[str, Tensor]
    digest: str
    preprocessing: Preprocessing | None = None
    class_names: tuple[str, ...] | None = None
    manifest: Manifest | None = None

    def known(self) -> Manifest | None:
        """Return all that is needed to use the weights; None where the weights do not say it."""
        if self.manifest is not None or self.class_names is None or self.preprocessing is None:
            return self.manifest
        return Manifest(architecture=self.architecture, preprocessing=self.preprocessing, class_names=self.class_names)

    def described(self) -> Manifest:
        """Return all that is needed to use the weights. Raises `ArtefactError` where the weights do not say it."""
        manifest = self.known()
        if manifest is None:
            lacks = "names no classes" if self.class_names is None else "does not say how it sees images"
            raise ArtefactError(
                f"{self.origin} {lacks}, so that it cannot classify by itself; resnext train DATA --from {self.origin}"
                " makes a classifier of it"
            )
        return manifest


def open_weights(text: str) -> Weights:
    """Open weights by the string that names them; what the string does not name is not fetched.

    Raises `ArtefactError`, a `ValueError`, where they are not there, damaged or of a network that this library does not
    have, naming the nearest, and `OSError` where they cannot be fetched.
    """
    kind, separator, name = text.partition(":")
    if separator and kind == "torchvision":
        theirs = published(name)
        return _recognised(text, theirs.tensors, Described(theirs.preprocessing, theirs.class_names))
    if separator and kind == "hf":
        file, config = fetch_files(name)
        return _from_file(text, file, config)
    path = Path(text).expanduser()
    if path.is_dir():
        raise ArtefactError(f"{text} is a folder; give a file in it, such as best.safetensors, or hf:{as_folder(text)}")
    if not path.is_file():
        raise ArtefactError(f"no weights at {text!r}, which does not exist or is not a file; weights are {KINDS}")
    return _from_file(text, path)


def open_network(text: str) -> tuple[Network, Manifest]:
    """Open weights as `open_weights` does: a network in evaluation mode, in form (c), and its manifest.

    Raises `ArtefactError` also where the weights do not say what their classes are called.
    """
    weights = open_weights(text)
    manifest = weights.described()
    network = skeleton(weights.architecture)
    if missing := network.state_dict().keys() - weights.tensors.keys():
        raise ArtefactError(f"{text} cannot classify: missing: {', '.join(sorted(missing))}")
    network.load_state_dict(weights.tensors, assign=True)
    return network.eval(), manifest


def _from_file(origin: str, path: Path, config: Path | None = None) -> Weights:
    """Open a file that is there: an artefact, or a state dict, of which a `config.json` of the hub may say more."""
    if path.stat().st_size > MAX_BYTES:
        raise ArtefactError(f"{origin} has {path.stat().st_size:,} bytes; at most {MAX_BYTES:,} are read")
    if path.suffix.lower() in STATE_DICTS:
        return _recognised(origin, _unpickled(origin, path), read_config(config))
    if path.suffix.lower() != SUFFIX:
        raise ArtefactError(f"{origin} is a file of an unknown kind, {path.suffix!r}; weights are {KINDS}")
    words, tensors = _safetensors(origin, path)
    if "resnext.manifest" in words:
        network, manifest = load_artefact(path)
        held = dict(network.state_dict())
        return Weights(
            origin=origin,
            architecture=manifest.architecture,
            tensors=held,
            digest=digest_of("", held),
            preprocessing=manifest.preprocessing,
            class_names=manifest.class_names,
            manifest=manifest,
        )
    if "resnext.checkpoint" in words:
        raise ArtefactError(f"{origin} is a checkpoint, to be resumed from; give the best.safetensors of its run")
    return _recognised(origin, tensors, read_config(config))


def _recognised(origin: str, state_dict: Mapping[str, Any], described: Described) -> Weights:
    try:
        tensors = unwrap(state_dict)
        _check_bounds(tensors)
        architecture, grouped = recognise(tensors)
    except ValueError as error:
        raise ArtefactError(f"{origin}: {error}") from None
    held = {name: _single(tensor) for name, tensor in grouped.items()}
    if spoilt := next((name for name, tensor in held.items() if not tensor.isfinite().all()), None):
        raise ArtefactError(f"{origin}: {spoilt} holds values that are not finite; these weights are spoilt")
    names = described.class_names
    if names is not None and len(names) != architecture.num_classes:
        raise ArtefactError(f"{origin} names {len(names)} classes, its head has {architecture.num_classes}")
    return Weights(
        origin=origin,
        architecture=architecture,
        tensors=held,
        digest=digest_of("", held),
        preprocessing=described.preprocessing,
        class_names=names,
    )


def _single(tensor: Tensor) -> Tensor:
    return tensor.detach().to(torch.float32 if tensor.is_floating_point() else tensor.dtype).contiguous()


def _check_bounds(tensors: Mapping[str, Tensor]) -> None:
    """Refuse what a small file may hold and no memory can: strides of zero make a large tensor of one number."""
    num_bytes = sum(tensor.numel() * tensor.element_size() for tensor in tensors.values())
    if num_bytes > MAX_BYTES:
        raise ValueError(f"its tensors would take {num_bytes:,} bytes; at most {MAX_BYTES:,} are read")


def _safetensors(origin: str, path: Path) -> tuple[dict[str, str], dict[str, Tensor]]:
    try:
        with safe_open(path, framework="pt") as file:
            return file.metadata() or {}, {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise ArtefactError(f"{origin} is not a whole safetensors file: {error}") from None


def _check_unpacked(origin: str, path: Path) -> None:
    """Refuse a zip whose records are larger than the file, before they are unpacked: torch compresses none."""
    with path.open("rb") as file:
        if file.read(len(_ZIP)) != _ZIP:
            return
        with ZipFile(file) as held:
            num_bytes = sum(record.file_size for record in held.infolist())
    if num_bytes > path.stat().st_size:
        raise ArtefactError(
            f"{origin} would take {num_bytes:,} bytes once unpacked, more than the file has; save it anew with"
            " torch.save, which compresses nothing"
        )


def _unpickled(origin: str, path: Path) -> Mapping[str, Any]:
    """Read a file of torch's that holds tensors and plain containers alone."""
    try:
        _check_unpacked(origin, path)
        held = torch.load(path, map_location="cpu", weights_only=True)
    except (MemoryError, ArtefactError):
        raise
    except Exception as error:  # a damaged file makes torch raise almost anything
        said = str(error).partition("\n")[0][:200]
        raise ArtefactError(
            f"{origin} cannot be read as a state dict ({type(error).__name__}: {said}); save the tensors alone, with"
            " torch.save(network.state_dict(), path)"
        ) from None
    if not isinstance(held, Mapping):
        raise ArtefactError(f"{origin} holds a {type(held).__name__}, not a state dict")
    return held
