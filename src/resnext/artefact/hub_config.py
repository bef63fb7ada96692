"""`config.json` as timm keeps it on the hub: preprocessing and class names, read from it and written to it."""

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from resnext.artefact.manifest import Manifest
from resnext.artefact.store import ArtefactError
from resnext.spec.architecture import Architecture, architecture
from resnext.spec.preprocessing import IMAGENET_MEAN, IMAGENET_STD, Preprocessing
from resnext.spec.value import SpecError

CONFIG = "config.json"

_MAX_BYTES = 16 * 2**20
_DEFAULT_CROP = 0.875  # timm's, where a configuration names none
_CROP_MODE = "center"
_LIBRARY = "resnext"


@dataclass(frozen=True, slots=True)
class Described:
    """What is said of weights beside them, as far as it is said."""

    preprocessing: Preprocessing | None = None
    class_names: tuple[str, ...] | None = None


def read_config(path: Path | None) -> Described:
    """Read timm's `config.json`, of today's layout or of the older one that is flat; None: there is no such file.

    Preprocessing that this library does not have, such as another interpolation or crop, counts as not said.
    Raises `ArtefactError` where the file is too large, no JSON, holds an illegal value, or names a relative of ResNet
    that computes something else with tensors of the same names.
    """
    if path is None:
        return Described()
    if path.stat().st_size > _MAX_BYTES:
        raise ArtefactError(f"{path} has {path.stat().st_size:,} bytes; at most {_MAX_BYTES:,} are read")
    try:
        fields = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise ArtefactError(f"{path} is not valid JSON: {error}") from None
    own = fields.get("pretrained_cfg", fields) if isinstance(fields, dict) else None
    if not isinstance(own, dict):
        raise ArtefactError(f"{path} is not a JSON object with a pretrained_cfg in it, as timm writes it")
    name = str(fields.get("architecture", own.get("architecture", ""))).partition(".")[0]
    if name.startswith("resne") and not _is_known(name):
        raise ArtefactError(f"{path}: architecture = {name!r}: this library has no such network")
    names = next((each[key] for each in (fields, own) for key in ("label_names", "labels") if each.get(key)), None)
    try:
        return Described(_preprocessing(own), _class_names(names))
    except SpecError as error:
        raise ArtefactError(f"{path} cannot be used: {error}") from None
    except (TypeError, ValueError, LookupError, ArithmeticError):
        raise ArtefactError(
            f"{path} cannot be used: input_size, crop_pct, mean or std is not as timm writes it, such as [3, 224, 224],"
            " 0.875 and three numbers each"
        ) from None


def config(manifest: Manifest) -> dict[str, Any]:
    """Return the fields of a `config.json` for an artefact; timm builds the network where it has it."""
    seen, names = manifest.preprocessing, list(manifest.class_names)
    network = manifest.architecture
    template, arguments = timm_template(network) or (network.name, None)
    fields = {
        "architecture": template,
        "library_name": _LIBRARY,
        "num_classes": network.num_classes,
        "label_names": names,
        "pretrained_cfg": {
            "input_size": [network.input_channels, seen.image_size, seen.image_size],
            "fixed_input_size": False,
            "crop_pct": _crop(seen),
            "crop_mode": _CROP_MODE,
            "interpolation": seen.interpolation,
            "mean": list(seen.mean),
            "std": list(seen.std),
            "num_classes": network.num_classes,
            "first_conv": "conv1",
            "classifier": "fc",
        },
    }
    return fields if arguments is None else {**fields, "model_args": arguments}


def is_own_config(text: str) -> bool:
    """Tell whether the text of a `config.json` was written for an artefact of this library."""
    try:
        fields = json.loads(text)
    except (ValueError, RecursionError):
        return False
    return isinstance(fields, dict) and fields.get("library_name") == _LIBRARY


def timm_template(network: Architecture) -> tuple[str, dict[str, Any]] | None:
    """Return the name and the arguments by which timm builds a network; None where it has no such network."""
    theirs = Architecture(stage_depths=network.stage_depths)
    same = ("stem", "base_channels", "shortcut")
    is_theirs = all(getattr(network, field) == getattr(theirs, field) for field in same)
    if not is_theirs or len(network.stage_depths) != 4 or (network.block == "basic" and network.base_width != 64):
        return None
    arguments: dict[str, Any] = {"layers": list(network.stage_depths), "in_chans": network.input_channels}
    if network.block == "basic":
        return "resnet18", arguments
    return "resnet50", {**arguments, "cardinality": network.cardinality, "base_width": network.base_width}


def _is_known(name: str) -> bool:
    try:
        return bool(architecture(name))
    except SpecError:
        return False


def _crop(seen: Preprocessing) -> float:
    """Return the fraction from which timm, which rounds down, comes to the same size before cropping."""
    fraction = seen.image_size / seen.resize_size
    while math.floor(seen.image_size / fraction) < seen.resize_size:
        fraction = math.nextafter(fraction, 0.0)
    return fraction


def _preprocessing(fields: dict[str, Any]) -> Preprocessing | None:
    is_ours = fields.get("interpolation", "bilinear") in ("bilinear", "bicubic")
    if not is_ours or fields.get("crop_mode", _CROP_MODE) != _CROP_MODE or "input_size" not in fields:
        return None
    size = int(fields["input_size"][-1])
    crop = float(fields.get("crop_pct") or _DEFAULT_CROP)
    if not 0 < crop <= 1:
        raise SpecError(f"crop_pct = {crop}: a fraction above 0, at most 1")
    return Preprocessing(
        image_size=size,
        resize_size=math.floor(size / crop),
        interpolation=fields.get("interpolation", "bilinear"),
        mean=tuple(fields.get("mean", IMAGENET_MEAN)),
        std=tuple(fields.get("std", IMAGENET_STD)),
    )


def _class_names(names: Any) -> tuple[str, ...] | None:
    if names is None:
        return None
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise SpecError("label_names: a list of texts is needed")
    return tuple(names)
