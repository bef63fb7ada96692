"""What a data set in the hub's layout says of itself, looked at before the datasets library acts on it.

That library takes what a description names as `data_files` for an address of any host, another repository or a path of
this machine, and asks for it while it opens the data set. Here nothing counts but what lies within.
"""

from collections.abc import Iterator
from pathlib import Path, PurePath
from typing import Any
from urllib.parse import urlsplit

from resnext.data.dataset import DataError


def check_folder(name: str, folder: Path) -> None:
    """Make sure that what a local folder says of itself names nothing outside it. Raises `DataError` where it does."""
    _check(name, {file: folder / file for file in _names() if (folder / file).is_file()})


def checked_commit(name: str, revision: str | None) -> str | None:
    """Make sure of the same of a data set of the hub, and return the commit that says so, which is to be opened.

    Where `HF_HUB_OFFLINE` is set the revision comes back unchecked: the library then takes what it made of the data
    before. Raises `DataError` where the hub has no such data set, and `ConnectionError` where it does not answer.
    """
    from datasets.config import HF_HUB_OFFLINE  # noqa: PLC0415 - an extra
    from huggingface_hub import HfApi, errors  # noqa: PLC0415 - an extra

    if HF_HUB_OFFLINE:
        return revision
    try:
        commit = HfApi().dataset_info(name, revision=revision).sha
        _check(name, dict(_fetched(name, commit)))
    except errors.HFValidationError:
        raise DataError(f"hf:{name}: no folder, and no name of a data set of the hub, USER/NAME") from None
    except errors.RevisionNotFoundError:
        raise DataError(f"hf:{name}: the hub has no revision {revision!r} of it") from None
    except errors.RepositoryNotFoundError:
        raise DataError(
            f"hf:{name}: no folder, and no data set of the hub that you may see; log in with hf auth login, or ask for"
            " access on its page"
        ) from None
    except (errors.HTTPError, errors.LocalEntryNotFoundError) as error:  # type: ignore[attr-defined]  # of httpx
        reason = str(error).partition("\n")[0]
        raise ConnectionError(
            f"the hub gives no answer ({reason}); HF_HUB_OFFLINE=1 takes what was opened before"
        ) from None
    return commit


def _names() -> tuple[str, str]:
    from datasets.config import REPOCARD_FILENAME, REPOYAML_FILENAME  # noqa: PLC0415 - an extra

    return REPOCARD_FILENAME, REPOYAML_FILENAME


def _fetched(name: str, commit: str | None) -> Iterator[tuple[str, Path]]:
    from huggingface_hub import errors, hf_hub_download  # noqa: PLC0415 - an extra

    for file in _names():
        try:
            yield file, Path(hf_hub_download(name, file, repo_type="dataset", revision=commit))
        except errors.RemoteEntryNotFoundError:
            continue


def _check(name: str, files: dict[str, Path]) -> None:
    from huggingface_hub import DatasetCard  # noqa: PLC0415 - an extra
    from yaml import safe_load  # noqa: PLC0415 - comes with an extra

    for file, path in files.items():
        is_card = path.suffix == ".md"
        said = DatasetCard.load(path).data.to_dict() if is_card else safe_load(path.read_text(encoding="utf-8"))
        for where in _places(said):
            if _is_elsewhere(where):
                raise DataError(
                    f"hf:{name}: its {file} takes data from {where}, which is no path within it; fetch that yourself,"
                    " and name it here"
                )


def _places(said: Any) -> Iterator[str]:
    """Yield what the configurations of a description name as files and folders."""
    configs = said.get("configs") if isinstance(said, dict) else None
    for config in configs if isinstance(configs, list) else ():
        if isinstance(config, dict):
            yield from _texts([config.get("data_files"), config.get("data_dir")])


def _texts(value: Any) -> Iterator[str]:
    known, left = set[int](), [value]
    while left:
        value = left.pop()
        if isinstance(value, str):
            yield value
        elif isinstance(value, list | dict) and id(value) not in known:  # a value may be named again within itself
            known.add(id(value))
            left.extend(value.values() if isinstance(value, dict) else value)


def _is_elsewhere(path: str) -> bool:
    is_address = urlsplit(path).scheme != "" or "::" in path
    return is_address or PurePath(path).anchor != "" or ".." in PurePath(path).parts
