"""Sharing an artefact: a folder in the hub's layout, with a model card, and its upload."""

import json
import tempfile
from pathlib import Path
from types import ModuleType

from resnext.artefact.card import model_card
from resnext.artefact.hub import WEIGHTS, check_repository, is_folder, reached
from resnext.artefact.hub_config import CONFIG, config
from resnext.artefact.sealed import write_atomically
from resnext.artefact.store import ArtefactError, load_artefact, save_artefact

CARD = "README.md"


def push(artefact: str | Path, target: str | Path, *, license_name: str | None = None, is_private: bool = False) -> str:
    """Share an artefact: write a folder, or make or renew a repository of the hub; return the path or the address.

    `target` is `hf:USER/NAME`, or a folder as `hf:./FOLDER` or as a path. It gets `model.safetensors`, the artefact
    under the names that timm reads too, `config.json` in timm's layout, and `README.md`, a model card made from the
    manifest. The account is that of huggingface_hub's own login.
    Raises `ArtefactError` where the artefact or the name cannot be used, and `OSError` where the hub refuses, cannot be
    reached, or the folder cannot be written.
    """
    text = str(target)
    name = text.removeprefix("hf:")
    if not text.startswith("hf:") or is_folder(name):
        folder = Path(name).expanduser()
        _write(folder, Path(artefact), (folder.resolve().name, license_name))
        return str(folder)
    check_repository(name)
    if "/" not in name:
        raise ArtefactError(f"{text}: whose? A repository to be written is named hf:USER/{name}")
    with tempfile.TemporaryDirectory() as written:
        _write(Path(written), Path(artefact), (name, license_name))
        return reached(name, lambda hub: _upload(hub, name, Path(written), is_private=is_private))


def _write(folder: Path, artefact: Path, words: tuple[str, str | None]) -> None:
    """Write the three files; `words` are the name and the licence on the card."""
    network, manifest = load_artefact(artefact)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OSError(f"{folder} cannot be a folder to write: {error.strerror}") from None
    if (folder / WEIGHTS).exists() and (folder / WEIGHTS).samefile(artefact):
        raise ArtefactError(f"{artefact} would be written over by itself; give another folder")
    save_artefact(folder / WEIGHTS, network, manifest, "timm")
    write_atomically(folder / CONFIG, (json.dumps(config(manifest), indent=2, ensure_ascii=False) + "\n").encode())
    write_atomically(folder / CARD, model_card(manifest, *words).encode())


def _upload(hub: ModuleType, name: str, folder: Path, *, is_private: bool) -> str:
    api = hub.HfApi(library_name="resnext")
    api.create_repo(name, private=is_private, exist_ok=True)
    api.upload_folder(repo_id=name, folder_path=folder, commit_message="Upload a classifier")
    return f"{api.endpoint}/{name}"
