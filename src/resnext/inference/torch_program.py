"""A program of torch.export in a file, with its manifest inside.

Opening such a program runs code that the file holds, expressions and pickles alike. So what is read back here are
the words and the tensors alone, for the network that the manifest describes; the program is for those who trust it.
"""

import json
import math
from pathlib import Path
from typing import Any
from zipfile import BadZipFile, ZipFile

import torch
from torch import Tensor, nn
from torch.export import ExportedProgram

from resnext.artefact.address import MAX_BYTES
from resnext.artefact.manifest import Manifest
from resnext.artefact.store import ArtefactError
from resnext.inference.fuse import fuse
from resnext.model.forms import build
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
    tensors, manifest = _read(path)
    side = manifest.preprocessing.image_size
    network = fuse(build(manifest.architecture), torch.zeros(1, manifest.architecture.input_channels, side, side))
    try:
        network.load_state_dict(tensors)
    except RuntimeError:
        raise ArtefactError(
            f"{path} does not hold the weights of the {manifest.architecture.name} that it names"
        ) from None
    return network, manifest


def _read(path: Path) -> tuple[dict[str, Tensor], Manifest]:
    """Read the tensors of a program by their names in the network, and its manifest."""
    try:
        with ZipFile(path) as file:
            _check_unpacked(path, file)
            root = file.namelist()[0].partition("/")[0]
            manifest = Manifest.from_json(file.read(f"{root}/extra/{_MANIFEST}").decode())
            listed = json.loads(file.read(f"{root}/data/weights/model_weights_config.json"))["config"]
            tensors = {name: _tensor(file, f"{root}/data/weights", entry) for name, entry in listed.items()}
    except (BadZipFile, LookupError, TypeError, AttributeError, ValueError, RecursionError) as error:
        if isinstance(error, ArtefactError | SpecError):
            raise ArtefactError(f"{path} cannot be read: {error}") from None
        raise ArtefactError(f"{path} is not a whole program that resnext export wrote") from None
    return tensors, manifest


def _check_unpacked(path: Path, file: ZipFile) -> None:
    """Refuse records that are larger than the file, before they are unpacked: torch compresses none."""
    num_bytes = sum(record.file_size for record in file.infolist())
    if num_bytes > min(path.stat().st_size, MAX_BYTES):
        raise ArtefactError(f"it would take {num_bytes:,} bytes once unpacked")


def _tensor(file: ZipFile, folder: str, entry: Any) -> Tensor:
    """Read a tensor of single precision that lies in its record in order, as `write_program` leaves them all."""
    meta = entry["tensor_meta"]
    shape = [size["as_int"] for size in meta["sizes"]]
    content = file.read(f"{folder}/{entry['path_name']}")
    is_plain = not entry["use_pickle"] and (meta["dtype"], meta["layout"]) == (_FLOAT32, _STRIDED)
    if not is_plain or len(content) != _NUM_BYTES * math.prod(shape):
        raise ArtefactError("it holds tensors of another kind than fp32")
    tensor = torch.frombuffer(bytearray(content), dtype=torch.float32).view(shape)
    if [stride["as_int"] for stride in meta["strides"]] != list(tensor.stride()):
        raise ArtefactError("it holds tensors in another layout than a row after the other")
    return tensor
