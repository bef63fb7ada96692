"""What this package runs on: what a report of a fault should say, and nothing that names a person or a machine."""

import os
import platform
import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path
from typing import Any

import torch

from resnext.training.machine import num_cores
from resnext.training.memory import capacity
from resnext.training.provenance import commit, versions

_PACKAGE = "resnext"
_OWN_VARIABLES = "RESNEXT_"
_VARIABLES = (
    "CUDA_VISIBLE_DEVICES",
    "HF_ENDPOINT",
    "HF_HOME",
    "HF_HUB_OFFLINE",
    "OMP_NUM_THREADS",
    "PYTORCH_CUDA_ALLOC_CONF",
    "TORCH_HOME",
    "XDG_CACHE_HOME",
)


def environment() -> dict[str, Any]:
    """Return versions, platform, devices, extras and environment variables, as JSON can hold them.

    The version of a package that is not installed is None. The home folder is written `~`.
    """
    required, known = requirements(requires(_PACKAGE) or ()), versions()
    others = [package for package in required.pop("", ()) if package not in known]
    return {
        "versions": {**known, **_installed(others)},
        "commit": commit(),
        "platform": {"system": platform.platform(), "machine": platform.machine(), "num_cores": num_cores()},
        "memory_bytes": capacity(torch.device("cpu")).total_bytes,
        "devices": devices(),
        "extras": {extra: _installed(packages) for extra, packages in required.items()},
        "variables": variables(os.environ),
    }


def requirements(lines: Sequence[str]) -> dict[str, list[str]]:
    """Return the packages that the lines of a package's metadata name, by extra; under "" what is always needed."""
    found: dict[str, list[str]] = defaultdict(list)
    for line in lines:
        name = re.match(r"[\w.-]+", line)
        extra = re.search(r"extra\s*==\s*['\"]([\w.-]+)['\"]", line)
        if name and name[0] != _PACKAGE:
            found[extra[1] if extra else ""].append(name[0])
    return dict(found)


def devices() -> dict[str, Any]:
    """Return what can be computed on, and with which libraries."""
    found: dict[str, Any] = {
        "cpu": {"capability": torch.backends.cpu.get_cpu_capability(), "num_threads": torch.get_num_threads()}
    }
    if torch.version.cuda:
        found["cuda"] = {"version": torch.version.cuda, "cudnn": torch.backends.cudnn.version()}  # type: ignore[no-untyped-call]
    for number in range(torch.cuda.device_count()):
        gpu = torch.cuda.get_device_properties(number)
        capability = f"{gpu.major}.{gpu.minor}"
        found[f"cuda:{number}"] = {"name": gpu.name, "memory_bytes": gpu.total_memory, "capability": capability}
    if torch.backends.mps.is_available():
        found["mps"] = {}
    return found


def variables(environ: Mapping[str, str]) -> dict[str, str]:
    """Return the environment variables that change what this package does, without the name of a home folder.

    Nor do they show whoever an address is to be opened as.
    """
    names = (name for name in sorted(environ) if name in _VARIABLES or name.startswith(_OWN_VARIABLES))
    return {name: _anonymous(environ[name]) for name in names}


def _anonymous(value: str) -> str:
    """Write a home folder that a value begins with as `~`, and leave the user out of an address."""
    with suppress(RuntimeError):  # a user without an entry and without HOME has no home
        home, path = Path.home(), Path(value)
        if len(home.parts) > 1 and path.is_relative_to(home):  # all paths are below a home that is the root
            return str("~" / path.relative_to(home))
    return re.sub(r"(?<=://)[^/]*@", "", value)


def _installed(packages: Sequence[str]) -> dict[str, str | None]:
    return {package: _version(package) for package in packages}


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
