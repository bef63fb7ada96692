"""A program of torch.export in a file, with its manifest inside.

Opening such a program runs code that the file holds, expressions and pickles alike. So what is read back here are
the words and the tensors alone, for the network that the manifest describes; the program is for those who trust it.
"""

import json
from pathlib import Path
from typing import Any
from zipfile import ZIP_STORED, ZipFile

import torch
from torch import Tensor, nn
from torch.export import ExportedProgram

from resnext.artefact.address import MAX_BYTES
from resnext.artefact.manifest import Manifest
from resnext.artefact.store import ArtefactError
from resnext.model.blocks import ConvNorm
from resnext.model.forms import skeleton
from resnext.spec.architecture import Architecture
from resnext.spec.value import SpecError

SUFFIX = ".pt2"

_MANIFEST = "resnext.manifest"
_FLOAT32, _STRIDED = 7, 7  # as torch.export numbers types and layouts
_NUM_BYTES = 4


def write_program(path: Path, program: ExportedProgram, manifest: Manifest) -> None:
    """Write a program, without the places in source files that it came from, and its manifest."""
    for node in program.graph.nodes:
        node.meta.pop("stack_trace", None)
    program.example_inputs = None
    torch.export.save(program, path, extra_files={_MANIFEST: manifest.to_json()})


def is_program(weights: str | Path) -> bool:
    """Tell whether a path is written as one of a program."""
    return Path(weights).suffix.lower() == SUFFIX


def open_program(path: Path) -> tuple[nn.Module, Manifest]:
    """Read a program: the network that its manifest describes, folded, with the program's weights, and the manifest.

    Raises `ArtefactError` where the file is missing, damaged, or not one that `write_program` wrote.
    """
    if not path.is_file():
        raise ArtefactError(f"no exported network at {path}, which does not exist or is not a file")
    try:
        with ZipFile(path) as file:
            return _read(file, path.stat().st_size)
    except (ArtefactError, SpecError) as error:
        raise ArtefactError(f"{path} cannot be read: {error}") from None
    except MemoryError:
        raise
    except Exception:  # a damaged file makes zipfile and json raise almost anything
        raise ArtefactError(f"{path} is not a whole program that resnext export wrote") from None


def _read(file: ZipFile, num_bytes: int) -> tuple[nn.Module, Manifest]:
    """Read the manifest, and the tensors of the network that it describes, which have to fit into so many bytes."""
    if num_bytes > MAX_BYTES or any(record.compress_type != ZIP_STORED for record in file.infolist()):
        raise ArtefactError(f"it is compressed, or has more than {MAX_BYTES:,} bytes")
    root = file.namelist()[0].partition("/")[0]
    manifest = Manifest.from_json(file.read(f"{root}/extra/{_MANIFEST}").decode())
    listed = json.loads(file.read(f"{root}/data/weights/model_weights_config.json"))["config"]
    network = _folded(manifest.architecture)
    shapes = {name: tensor.shape for name, tensor in network.state_dict().items()}
    fits = _NUM_BYTES * sum(shape.numel() for shape in shapes.values()) <= num_bytes
    if not fits or {name: _shape(entry) for name, entry in listed.items()} != shapes:
        raise ArtefactError(f"it does not hold the weights of the {manifest.architecture.name} that it names")
    tensors = {
        name: _tensor(file, f"{root}/data/weights/{entry['path_name']}", entry) for name, entry in listed.items()
    }
    network.load_state_dict(tensors, assign=True)
    return network, manifest


def _folded(architecture: Architecture) -> nn.Module:
    """Return a network without weights, in which each convolution has a bias in place of its batch normalisation."""
    network = skeleton(architecture).eval()
    for module in [*network.modules()]:
        if isinstance(module, ConvNorm):
            module.conv.bias = nn.Parameter(torch.empty(module.conv.out_channels, device="meta"))
            module.set_submodule("norm", nn.Identity())
    return network


def _shape(entry: Any) -> torch.Size:
    return torch.Size(size["as_int"] for size in entry["tensor_meta"]["sizes"])


def _tensor(file: ZipFile, record: str, entry: Any) -> Tensor:
    """Read a tensor of single precision that lies in its record in order, as `write_program` leaves them all."""
    meta, shape = entry["tensor_meta"], _shape(entry)
    is_plain = not entry["use_pickle"] and (meta["dtype"], meta["layout"]) == (_FLOAT32, _STRIDED)
    if not is_plain or file.getinfo(record).file_size != _NUM_BYTES * shape.numel():
        raise ArtefactError("it holds tensors of another kind than fp32")
    tensor = torch.frombuffer(bytearray(file.read(record)), dtype=torch.float32).view(shape)
    if [stride["as_int"] for stride in meta["strides"]] != list(tensor.stride()):
        raise ArtefactError("it holds tensors in another layout than a row after the other")
    return tensor
