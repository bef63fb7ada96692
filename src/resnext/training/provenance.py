"""Who made a result: versions, commit, command, place."""

import platform
import shlex
import subprocess
import sys
from functools import cache
from importlib.metadata import version
from pathlib import Path

import torch

_PACKAGES = ("resnext", "pillow", "numpy")


def versions() -> dict[str, str]:
    """Return the versions of Python and of the libraries that touch a result."""
    installed = {package: version(package) for package in _PACKAGES}
    return {"python": platform.python_version(), "torch": torch.__version__, **installed}


@cache
def commit() -> str | None:
    """Return the commit of the checkout that this package runs from; None where it is not a checkout."""
    here = Path(__file__).parent
    try:
        tracked = subprocess.run(
            ["git", "ls-files", "--error-unmatch", Path(__file__).name], cwd=here, capture_output=True, check=False
        )
        if tracked.returncode != 0:
            return None
        head = subprocess.run(["git", "rev-parse", "HEAD"], cwd=here, capture_output=True, text=True, check=False)
    except OSError:
        return None
    return head.stdout.strip() or None


def command() -> str:
    """Return the command line of this process."""
    return shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]])
