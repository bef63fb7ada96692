"""Where things are kept that can be made again, such as the listing of a large folder."""

import os
from pathlib import Path


def cache_folder() -> Path:
    """Return this package's folder in `$XDG_CACHE_HOME`, or in `~/.cache` where that is not a whole path.

    Raises `RuntimeError` where the user has no home.
    """
    base = Path(os.environ.get("XDG_CACHE_HOME", ""))
    return (base if base.is_absolute() else Path.home() / ".cache") / "resnext"
