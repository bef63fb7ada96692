"""The strings that name weights, and the bound on what they may hold; without torch, so that commands start quickly."""

from pathlib import PurePath

SUFFIX = ".safetensors"
STATE_DICTS = (".pt", ".pth", ".bin")
KINDS = (
    f"an artefact or a state dict ({', '.join((SUFFIX, *STATE_DICTS))}), torchvision:WEIGHTS, hf:REPO or hf:./FOLDER"
)
MAX_BYTES = 8 * 2**30

_PATHS = ("./", "../", "/", "~")


def names_weights(text: str) -> bool:
    """Tell whether a string is written as one that names weights, whether or not they are there."""
    return text.startswith(("hf:", "torchvision:")) or PurePath(text).suffix.lower() in (SUFFIX, *STATE_DICTS)


def is_folder(name: str) -> bool:
    """Tell whether what follows `hf:` is written as the path of a folder; it is a repository of the hub otherwise."""
    return name.startswith(_PATHS) or name in (".", "..")


def as_folder(path: str) -> str:
    """Return the path of a folder as it is written after `hf:`."""
    return path if is_folder(path) else f"./{path}"
