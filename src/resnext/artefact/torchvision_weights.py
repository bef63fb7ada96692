"""The weights that torchvision publishes, with the preprocessing and the class names that it gives them."""

import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

from torch import Tensor

from resnext.artefact.store import ArtefactError
from resnext.spec.architecture import architecture
from resnext.spec.preprocessing import Preprocessing
from resnext.spec.value import SpecError

_NUM_NEAREST = 3


@dataclass(frozen=True, slots=True)
class Published:
    """Weights as torchvision hands them out."""

    tensors: Mapping[str, Tensor]
    preprocessing: Preprocessing
    class_names: tuple[str, ...]


def published(name: str) -> Published:
    """Fetch weights by torchvision's names: `ResNet50_Weights.IMAGENET1K_V2`, `ResNet50_Weights` or `resnet50`.

    A file that torchvision has fetched before is not fetched again. Raises `ArtefactError`, naming the nearest, where
    there are none of that name for a ResNet or ResNeXt, and `OSError` where they cannot be fetched.
    """
    member = _member(name)
    try:
        tensors = member.get_state_dict(progress=sys.stderr.isatty(), check_hash=True, weights_only=True)
    except OSError as error:
        raise OSError(f"torchvision:{name} could not be fetched from {member.url}: {error}") from None
    except Exception as error:  # a damaged file makes torch raise almost anything
        said = str(error).partition("\n")[0][:200]
        raise OSError(
            f"torchvision:{name}: the file that was fetched from {member.url} is damaged ({said}); remove it from"
            " hub/checkpoints in TORCH_HOME, or ~/.cache/torch, to have it fetched anew"
        ) from None
    preset = member.transforms()
    seen = Preprocessing(
        image_size=preset.crop_size[0],
        resize_size=preset.resize_size[0],
        interpolation=preset.interpolation.value,
        mean=tuple(preset.mean),
        std=tuple(preset.std),
    )
    return Published(tensors, seen, tuple(member.meta["categories"]))


def _member(name: str) -> Any:
    """Find the member of one of torchvision's enumerations by its name, that of its class or that of its network."""
    classes = dict(_classes())
    class_name, _, member_name = name.partition(".")
    found = classes.get(class_name)
    if found is None and not member_name:
        found = next((each for network, each in _networks() if network == name), None)
    if found is not None and (not member_name or member_name in found.__members__):
        return found[member_name] if member_name else found.DEFAULT
    known = [*classes, *(network for network, _ in _networks())]
    known += [f"{each}.{member}" for each, one in classes.items() for member in one.__members__]
    by_case = {each.lower(): each for each in known}
    nearest = [by_case[each] for each in get_close_matches(name.lower(), by_case, n=_NUM_NEAREST, cutoff=0.4)]
    raise ArtefactError(
        f"torchvision:{name}: torchvision has no such weights of a ResNet or ResNeXt; nearest:"
        f" {', '.join(nearest or sorted(classes)[:_NUM_NEAREST])}"
    )


def _classes() -> Iterable[tuple[str, Any]]:
    return ((each.__name__, each) for _, each in _networks())


def _networks() -> Iterable[tuple[str, Any]]:
    """Yield the networks of torchvision that are of this library's grammar, with their weights."""
    from torchvision import models  # noqa: PLC0415 - loads every network of torchvision

    for name in models.list_models(module=models):
        try:
            architecture(name)
        except SpecError:
            continue
        yield name, models.get_model_weights(name)
