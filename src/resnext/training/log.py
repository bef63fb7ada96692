"""Reading back the logs of a run."""

import json
from pathlib import Path
from typing import Any

MAX_LOG_BYTES = 2**26


def read_log(path: Path) -> tuple[dict[str, Any], ...]:
    """Return the lines of a log, objects of JSON each; a last line that was cut off is left out, so is a missing file.

    Raises `ValueError` where the file is larger than a log can be, or holds something else.
    """
    if not path.exists():
        return ()
    if (num_bytes := path.stat().st_size) > MAX_LOG_BYTES:
        raise ValueError(f"{path} has {num_bytes} bytes, more than the {MAX_LOG_BYTES} that are read of a log")
    whole, _, _ = path.read_bytes().rpartition(b"\n")
    try:
        return tuple(dict(json.loads(line)) for line in whole.splitlines())
    except (TypeError, ValueError):
        raise ValueError(f"{path} holds lines that are no objects of JSON; a run did not write them") from None
