"""Repositories of the Hugging Face hub, and folders in its layout: weights in, artefacts out.

What is cached, and `HF_HUB_OFFLINE`, `HF_HOME` and `HF_ENDPOINT`, are the business of huggingface_hub.
"""

import re
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import TypeVar

from resnext.artefact.address import MAX_BYTES, is_folder
from resnext.artefact.hub_config import CONFIG
from resnext.artefact.store import ArtefactError

WEIGHTS = "model.safetensors"

_FILES = (WEIGHTS, "pytorch_model.bin")
_REPOSITORY = re.compile(r"(?:[A-Za-z0-9][\w.-]{0,95}/)?[A-Za-z0-9][\w.-]{0,95}")

Result = TypeVar("Result")


def fetch_files(name: str) -> tuple[Path, Path | None]:
    """Return the paths of the weights and of `config.json`, if there is one, of a repository or of a folder.

    Raises `ArtefactError` where there are no weights or no such repository, and `OSError` where it cannot be reached.
    """
    if is_folder(name):
        folder = Path(name).expanduser()
        found = next((folder / file for file in _FILES if (folder / file).is_file()), None)
        if found is None:
            raise ArtefactError(f"hf:{name} is no folder with {' or '.join(_FILES)} in it")
        config = folder / CONFIG
        return found, config if config.is_file() else None
    check_repository(name)
    weights = next((path for file in _FILES if (path := fetched(name, file)) is not None), None)
    if weights is None:
        raise ArtefactError(f"hf:{name} has neither {' nor '.join(_FILES)}")
    return weights, fetched(name, CONFIG, is_needed=False)


def check_repository(name: str) -> None:
    """Raise `ArtefactError` where a name cannot be that of a repository."""
    if _REPOSITORY.fullmatch(name) is None or ".." in name or "--" in name:
        raise ArtefactError(f"hf:{name}: a repository is named USER/NAME, and a folder hf:./FOLDER")


def reached(name: str, function: Callable[[ModuleType], Result]) -> Result:
    """Call a function of huggingface_hub, and say in a sentence what went wrong.

    Raises `ArtefactError` where the extra or the repository is missing, and `OSError` where the hub refuses, or cannot
    be reached.
    """
    try:
        import huggingface_hub  # noqa: PLC0415 - an extra
    except ImportError:
        raise ArtefactError("hf: needs huggingface_hub; pip install 'resnext[hub]'") from None
    from huggingface_hub import errors  # noqa: PLC0415 - an extra

    try:
        return function(huggingface_hub)
    except errors.LocalTokenNotFoundError:
        raise OSError(f"hf:{name}: not logged in to the hub; run: hf auth login") from None
    except errors.GatedRepoError:
        raise OSError(f"hf:{name} asks for consent on its page before it lets anyone have its files") from None
    except errors.RepositoryNotFoundError:
        raise ArtefactError(
            f"hf:{name}: the hub has no such repository, or it is private and you are not logged in;"
            f" a folder is named hf:./{name}"
        ) from None
    except errors.LocalEntryNotFoundError:
        raise OSError(f"hf:{name} is not in the cache, and the hub cannot be reached") from None
    except errors.OfflineModeIsEnabled:
        raise OSError(f"hf:{name}: HF_HUB_OFFLINE is set, so that the hub is not asked") from None
    except errors.HfHubHTTPError as error:
        raise OSError(f"hf:{name}: {_refusal(error.response.status_code)}") from None
    except (errors.HTTPError, ConnectionError) as error:  # type: ignore[attr-defined]  # of httpx, whichever is there
        raise OSError(f"hf:{name}: the hub cannot be reached ({type(error).__name__}: {error})") from None


def _refusal(status: int) -> str:
    if status == 401:
        return "not logged in to the hub, or with a token that has expired; run: hf auth login"
    if status == 403:
        return "the hub does not let this account write there; check the name, and that the token may write"
    return f"the hub answered with status {status}; try again later"


def fetched(name: str, file: str, *, is_needed: bool = True) -> Path | None:
    """Fetch a file of a repository, or find it in the cache; None where it has no such file.

    None too where the hub cannot be reached, the cache lacks the file and it is not needed. Raises as `reached` does,
    and `ArtefactError` where the file is larger than what is read.
    """

    def fetch(hub: ModuleType) -> Path | None:
        try:
            num_bytes = hub.hf_hub_download(name, file, dry_run=True).file_size
            if num_bytes is not None and num_bytes > MAX_BYTES:
                raise ArtefactError(f"hf:{name}: {file} has {num_bytes:,} bytes; at most {MAX_BYTES:,} are read")
            return Path(hub.hf_hub_download(name, file))
        except hub.errors.RemoteEntryNotFoundError:
            return None
        except hub.errors.LocalEntryNotFoundError:
            # Where there is no file of a name, the cache remembers that too.
            if is_needed and hub.try_to_load_from_cache(name, file) is not hub._CACHED_NO_EXIST:
                raise
            return None

    return reached(name, fetch)
