"""Sharing an artefact: a folder in the hub's layout, with a model card, and its upload."""

import json
import re
import tempfile
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

from resnext.artefact.address import is_folder
from resnext.artefact.card import is_own_card, model_card
from resnext.artefact.hub import WEIGHTS, check_repository, fetched, reached
from resnext.artefact.hub_config import CONFIG, config, is_own_config
from resnext.artefact.manifest import Manifest
from resnext.artefact.sealed import write_atomically
from resnext.artefact.store import ArtefactError, load_artefact, save_artefact

CARD = "README.md"

_KINDS_OF_DATA = ("hf:", "wds:")
_COMMIT = "Upload a classifier"


@dataclass(frozen=True, slots=True)
class Pushed:
    """Where an artefact was shared: the path or the address; and whether a card that is not push's own stayed there."""

    address: str
    keeps_card: bool = False


def push(
    artefact: str | Path, target: str | Path, *, license_name: str | None = None, is_private: bool = False
) -> Pushed:
    """Share an artefact: write a folder, or make or renew a repository of the hub.

    `target` is `hf:USER/NAME`, or a folder as `hf:./FOLDER` or as a path. It gets `model.safetensors`, the artefact
    under the names that timm reads too, `config.json` in timm's layout, and `README.md`, a model card made from the
    manifest; the command line and the folders of the data are left out of all three. A `README.md` of a repository
    that this function did not write, or that was edited since, stays. The account is that of huggingface_hub's login.
    Raises `ArtefactError` where the artefact or the name cannot be used, or the folder holds files that this function
    did not write, and `OSError` where the hub refuses, cannot be reached, or the folder cannot be written.
    """
    text = str(target)
    name = text.removeprefix("hf:")
    if not text.startswith("hf:") or is_folder(name):
        folder = Path(name).expanduser()
        _write(folder, Path(artefact), (f"./{folder.resolve().name}", license_name))
        return Pushed(str(folder))
    check_repository(name)
    if "/" not in name:
        raise ArtefactError(f"{text}: whose? A repository to be written is named hf:USER/{name}")
    with tempfile.TemporaryDirectory() as written:
        _write(Path(written), Path(artefact), (name, license_name))
        return reached(name, lambda hub: _upload(hub, name, Path(written), is_private=is_private))


def _write(folder: Path, artefact: Path, words: tuple[str, str | None]) -> None:
    """Write the three files; `words` are the name and the licence on the card."""
    network, manifest = load_artefact(artefact)
    manifest = _shareable(manifest)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OSError(f"{folder} cannot be a folder to write: {error.strerror}") from None
    if (folder / WEIGHTS).exists() and (folder / WEIGHTS).samefile(artefact):
        raise ArtefactError(f"{artefact} would be written over by itself; give another folder")
    _check_nothing_is_lost(folder)
    write_atomically(folder / CONFIG, (json.dumps(config(manifest), indent=2, ensure_ascii=False) + "\n").encode())
    save_artefact(folder / WEIGHTS, network, manifest, "timm")
    write_atomically(folder / CARD, model_card(manifest, *words).encode())


def _check_nothing_is_lost(folder: Path) -> None:
    """Refuse to write over what others wrote. Weights without a configuration beside them are others' too."""
    has_own_config = _is_own(folder / CONFIG)
    is_own = {CARD: _is_own(folder / CARD), CONFIG: has_own_config, WEIGHTS: has_own_config}
    if foreign := [file for file, is_ours in is_own.items() if (folder / file).exists() and not is_ours]:
        raise ArtefactError(
            f"{folder} holds what push did not write, or what was edited since: {', '.join(foreign)}; move that away,"
            " or give another folder"
        )


def _is_own(path: Path) -> bool:
    """Tell whether a card or a configuration is there, is push's, and holds no words of others."""
    if not path.is_file():
        return False
    text = path.read_text(encoding="utf-8", errors="replace")
    return is_own_card(text) if path.name == CARD else is_own_config(text)


def _shareable(manifest: Manifest) -> Manifest:
    """Leave out what tells of the machine: the command line, and the folders in which the data lies."""
    made = manifest.provenance
    if made is None:
        return manifest
    return manifest.replace(provenance=made.replace(data=_without_folders(made.data), command=None))


def _without_folders(data: str) -> str:
    """Return the name of data of which only the last component of a path is left."""
    kind = next((kind for kind in _KINDS_OF_DATA if data.startswith(kind)), "")
    path = data.removeprefix(kind)
    if kind == "hf:" and not is_folder(path) and path.count("/") == 1 and not Path(path).exists():
        return data
    return kind + re.split(r"[/\\]", path.rstrip("/\\"))[-1]


def _upload(hub: ModuleType, name: str, folder: Path, *, is_private: bool) -> Pushed:
    api = hub.HfApi(library_name="resnext")
    api.create_repo(name, private=is_private, exist_ok=True)
    held = fetched(name, CARD)
    keeps_card = held is not None and not _is_own(held)
    ignored = [CARD] if keeps_card else None
    api.upload_folder(repo_id=name, folder_path=folder, commit_message=_COMMIT, ignore_patterns=ignored)
    return Pushed(f"{api.endpoint}/{name}", keeps_card)
