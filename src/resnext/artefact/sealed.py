"""One safetensors file of tensors and words under one SHA-256: what artefacts and checkpoints are kept in."""

import hashlib
import os
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

_DIGEST = "resnext.sha256"


class SealError(ValueError):
    """A file that is missing, foreign, incomplete or altered; the message says which."""


def write_sealed(path: Path, kind: str, words: str, tensors: Mapping[str, Tensor]) -> None:
    """Write tensors and the words of a kind (`manifest`, `checkpoint`), whole or not at all.

    Raises `OSError` where the file cannot be written; what was there before is then still there.
    """
    on_cpu = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    metadata = {f"resnext.{kind}": words, _DIGEST: digest_of(words, on_cpu)}
    write_atomically(path, save(on_cpu, metadata=metadata))


def read_sealed(path: Path, kind: str) -> tuple[str, dict[str, Tensor]]:
    """Read the words of a kind and the tensors. Raises `SealError` where the file is not what was written."""
    words, digest, tensors = _read(path, f"resnext.{kind}")
    if digest_of(words, tensors) != digest:
        raise SealError(f"{path} was altered after it was written: its SHA-256 does not match")
    return words, tensors


def write_atomically(path: Path, content: bytes) -> None:
    """Replace a file by new content, through a neighbour that is flushed to the disk and then renamed.

    Raises `OSError`, one sentence, where that fails; the path then holds what it held before.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
        _flush_folder(path.parent)
    except OSError as error:
        raise OSError(f"{path} could not be written: {error.strerror}") from None
    finally:
        temporary.unlink(missing_ok=True)


def _flush_folder(folder: Path) -> None:
    """Make a renaming survive a power cut, where folders can be flushed."""
    try:
        descriptor = os.open(folder, os.O_RDONLY)
    except OSError:
        return
    try:
        os.fsync(descriptor)
    except OSError:
        pass
    finally:
        os.close(descriptor)


def _read(path: Path, key: str) -> tuple[str, str, dict[str, Tensor]]:
    if not path.is_file():
        raise SealError(f"{path} does not exist or is not a file")
    try:
        with safe_open(path, framework="pt") as file:
            words = file.metadata() or {}
            if key not in words or _DIGEST not in words:
                raise SealError(
                    f"{path} holds tensors but no {key.replace('.', ' ')}; training did not write it as one"
                )
            return words[key], words[_DIGEST], {name: file.get_tensor(name).clone() for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise SealError(f"{path} is not a whole safetensors file: {error}") from None


def digest_of(words: str, tensors: Mapping[str, Tensor]) -> str:
    """Return the SHA-256 of words and of tensors on the CPU: of their names, sorted, types, shapes and bytes."""
    total = hashlib.sha256(words.encode())
    for name in sorted(tensors):
        tensor = tensors[name].contiguous()
        total.update(f"\n{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        total.update(tensor.flatten().view(torch.uint8).numpy().data)
    return total.hexdigest()
