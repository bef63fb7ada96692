"""OpenVINO and NNCF without their telemetry, which goes out over the network as soon as they are imported."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
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
