"""ResNeXt made whole: the network in its three equivalent forms, and a classifier to train, trust and ship.

Names are bound when first used, so that `import resnext` loads neither torch nor pydantic.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from resnext.artefact.adapters import export_weights, load_weights
    from resnext.artefact.push import push
    from resnext.artefact.weights import Weights, open_weights
    from resnext.data.inspect import inspect
    from resnext.data.loader import evaluation_batches, view_batches
    from resnext.data.open import open_data
    from resnext.evaluation.evaluate import evaluate, mean_over_views
    from resnext.inference.accelerate import accelerate
    from resnext.inference.classifier import Classifier, Prediction
    from resnext.inference.export import export
    from resnext.inference.load import load
    from resnext.model.forms import build, convert, convert_tensors
    from resnext.spec.architecture import Architecture, architecture
    from resnext.spec.complexity import complexity, solve_width
    from resnext.spec.protocol import ScoringProtocol
    from resnext.spec.recipe import read_recipe
    from resnext.training.checkpoint import Interval
    from resnext.training.conduct import Conduct
    from resnext.training.forecast import Forecast, forecast
    from resnext.training.machine import Machine
    from resnext.training.run import train

__all__ = [
    "Architecture",
    "Classifier",
    "Conduct",
    "Forecast",
    "Interval",
    "Machine",
    "Prediction",
    "ScoringProtocol",
    "Weights",
    "accelerate",
    "architecture",
    "build",
    "complexity",
    "convert",
    "convert_tensors",
    "evaluate",
    "evaluation_batches",
    "export",
    "export_weights",
    "forecast",
    "inspect",
    "load",
    "load_weights",
    "mean_over_views",
    "open_data",
    "open_weights",
    "push",
    "read_recipe",
    "solve_width",
    "train",
    "view_batches",
]

__version__ = "0.1.0"

_HOMES = {
    "Architecture": "resnext.spec.architecture",
    "Classifier": "resnext.inference.classifier",
    "Conduct": "resnext.training.conduct",
    "Forecast": "resnext.training.forecast",
    "Interval": "resnext.training.checkpoint",
    "Machine": "resnext.training.machine",
    "Prediction": "resnext.inference.classifier",
    "ScoringProtocol": "resnext.spec.protocol",
    "Weights": "resnext.artefact.weights",
    "accelerate": "resnext.inference.accelerate",
    "architecture": "resnext.spec.architecture",
    "build": "resnext.model.forms",
    "complexity": "resnext.spec.complexity",
    "convert": "resnext.model.forms",
    "convert_tensors": "resnext.model.forms",
    "evaluate": "resnext.evaluation.evaluate",
    "evaluation_batches": "resnext.data.loader",
    "export": "resnext.inference.export",
    "export_weights": "resnext.artefact.adapters",
    "forecast": "resnext.training.forecast",
    "inspect": "resnext.data.inspect",
    "load": "resnext.inference.load",
    "load_weights": "resnext.artefact.adapters",
    "mean_over_views": "resnext.evaluation.evaluate",
    "open_data": "resnext.data.open",
    "open_weights": "resnext.artefact.weights",
    "push": "resnext.artefact.push",
    "read_recipe": "resnext.spec.recipe",
    "solve_width": "resnext.spec.complexity",
    "train": "resnext.training.run",
    "view_batches": "resnext.data.loader",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'resnext' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOMES])
