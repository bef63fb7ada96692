"""The file that is shipped: weights in safetensors, the manifest in its header, both under one SHA-256."""

from pathlib import Path

from resnext.artefact.adapters import Naming, export_weights, to_grouped
from resnext.artefact.manifest import Manifest
from resnext.artefact.sealed import SealError, read_sealed, write_sealed
from resnext.model.forms import skeleton
from resnext.model.network import Network
from resnext.spec.value import SpecError

_KIND = "manifest"


class ArtefactError(ValueError):
    """A file that is not an artefact, or not a whole one; the message says which."""


def save_artefact(path: Path, network: Network, manifest: Manifest, naming: Naming = "resnext") -> None:
    """Write an artefact so that at any moment the path holds the old file or the new one, whole.

    The weights are stored in form (c) and in single precision, whatever form and precision the network has; under
    the names of another library, which then reads the same file, they are still an artefact.
    """
    tensors = {
        name: tensor.float() if tensor.is_floating_point() else tensor
        for name, tensor in export_weights(network, naming).items()
    }
    write_sealed(path, _KIND, manifest.to_json(), tensors)


def load_artefact(path: Path) -> tuple[Network, Manifest]:
    """Read an artefact: a network in evaluation mode, in form (c), and its manifest.

    Raises `ArtefactError` where the file is missing, is no artefact, is incomplete or was altered.
    """
    try:
        words, tensors = read_sealed(path, _KIND)
    except SealError as error:
        raise ArtefactError(str(error)) from None
    try:
        manifest = Manifest.from_json(words)
    except SpecError as error:
        raise ArtefactError(f"{path} holds a manifest that this version cannot read: {error}") from None
    tensors = to_grouped(tensors, manifest.architecture)
    network = skeleton(manifest.architecture)
    expected = {name: (tensor.shape, tensor.dtype) for name, tensor in network.state_dict().items()}
    if {name: (tensor.shape, tensor.dtype) for name, tensor in tensors.items()} != expected:
        raise ArtefactError(f"{path} does not hold the weights of the {manifest.architecture.name} that it names")
    network.load_state_dict(tensors, assign=True)
    return network.eval(), manifest
