"""OpenVINO and NNCF without telemetry, which goes out over the network once they are imported, and without chatter."""

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from io import StringIO
from types import ModuleType

_REPORTS = "openvino_telemetry"


@contextmanager
def no_telemetry() -> Iterator[None]:
    """Import within this block as if the package that reports were not installed; both then do without it.

    What has been imported before keeps what it imported.
    """
    modules: dict[str, ModuleType | None] = sys.modules  # type: ignore[assignment] # None: cannot be imported
    missing = object()
    before = modules.get(_REPORTS, missing)
    modules[_REPORTS] = None
    try:
        yield
    finally:
        if before is missing:
            del modules[_REPORTS]
        else:
            modules[_REPORTS] = before  # type: ignore[assignment]


@contextmanager
def quiet() -> Iterator[None]:
    """Let NNCF print neither what it does nor how far it is, nor torch, as NNCF loads, that there is no GPU."""
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with redirect_stdout(StringIO()):
            yield
    finally:
        logging.disable(before)
