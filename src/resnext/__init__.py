"""ResNeXt made whole: the network in its three equivalent forms, and a classifier to train, trust and ship.

Names are bound when first used, so that `import resnext` loads neither torch nor pydantic.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from resnext.artefact.adapters import export_weights, load_weights
    from resnext.model.forms import build, convert
    from resnext.spec.architecture import Architecture, architecture
    from resnext.spec.complexity import complexity, solve_width

_FACE = {
    "Architecture": "resnext.spec.architecture",
    "architecture": "resnext.spec.architecture",
    "build": "resnext.model.forms",
    "complexity": "resnext.spec.complexity",
    "convert": "resnext.model.forms",
    "export_weights": "resnext.artefact.adapters",
    "load_weights": "resnext.artefact.adapters",
    "solve_width": "resnext.spec.complexity",
}

__all__ = [
    "Architecture",
    "architecture",
    "build",
    "complexity",
    "convert",
    "export_weights",
    "load_weights",
    "solve_width",
]

__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    if name not in _FACE:
        raise AttributeError(f"module 'resnext' has no attribute {name!r}")
    return getattr(import_module(_FACE[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_FACE])
