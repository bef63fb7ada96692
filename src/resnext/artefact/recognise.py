"""Which network a state dict belongs to, from the names and shapes of its tensors alone."""

import re
from collections.abc import Mapping

from torch import Tensor

from resnext.artefact.adapters import differing_names, differing_shapes, listed, to_grouped, with_counters
from resnext.model.forms import skeleton
from resnext.spec.architecture import Architecture, Block, Shortcut, architecture
from resnext.spec.complexity import complexity
from resnext.spec.plan import plan

# Types B and C differ where a block keeps its shape, and A has no weights; so has "none", which is never recognised.
_SHORTCUTS: tuple[Shortcut, ...] = ("B", "C", "A")
_HEAD = ("head.weight", "head.bias")
_IMAGENET_KERNEL = 7
_MATRIX, _KERNEL = 2, 4
_DEFAULT_CLASSES, _RGB = 1000, 3
_ANY_SIZE = ("resnet18", "resnet34", "resnet50", "resnet101", "resnet152", "resnet200", "resnext101_64x4d")

_BLOCK = re.compile(r"layer(?P<theirs>\d+)\.(?P<their_index>\d+)\.|stages\.(?P<ours>\d+)\.(?P<our_index>\d+)\.")
_PROJECTION = re.compile(r"\.(?:downsample|shortcut)\.")
_STEM = ("conv1.weight", "stem.conv.weight")
_FIRST_REDUCE = ("layer1.0.conv1.weight", "stages.0.0.reduce.conv.weight", "stages.0.0.paths.0.reduce.conv.weight")
_FIRST_GROUPED = (
    "layer1.0.conv2.weight",
    "stages.0.0.transform.conv.weight",
    "stages.0.0.paths.0.transform.conv.weight",
)
_FIRST_BASIC = ("layer1.0.conv1.weight", "stages.0.0.transform.conv.weight")
_CLASSIFIER = ("fc.weight", "head.weight")


def recognise(tensors: Mapping[str, Tensor]) -> tuple[Architecture, dict[str, Tensor]]:
    """Return the architecture of tensors named by torchvision, timm or this library, and the tensors in grouped form.

    A head may be missing; the architecture then has 1000 classes. Shortcuts without weights are taken for type A.
    Raises `ValueError`, which names the nearest architecture and what differs, where they are of no ResNet or ResNeXt.
    """
    depths = _stage_depths(tensors)
    if not depths:
        raise ValueError(_foreign(tensors))
    network = _guess(tensors, depths)
    own = skeleton(network).state_dict()
    held = with_counters(to_grouped(tensors, network), own)
    is_headless = not any(name in held for name in _HEAD)
    expected = {name: tensor for name, tensor in own.items() if not (is_headless and name in _HEAD)}
    if differs := differing_names(held, expected):
        raise ValueError(f"these look like {network.name}, but this library has no such block or stem: {differs}")
    if shapes := differing_shapes(held, expected):
        raise ValueError(f"these look like {network.name}, but have other shapes: {listed(shapes)}")
    return network, {name: held[name] for name in expected}


def _stage_depths(tensors: Mapping[str, Tensor]) -> tuple[int, ...]:
    """Count the blocks of each stage; empty where there is none that either library would name so."""
    blocks: dict[int, set[int]] = {}
    for name in tensors:
        if match := _BLOCK.match(name):
            stage = int(match["theirs"]) - 1 if match["theirs"] else int(match["ours"])
            blocks.setdefault(stage, set()).add(int(match["their_index"] or match["our_index"]))
    first = _find(tensors, _FIRST_REDUCE + _FIRST_GROUPED) if 0 in blocks else None
    return () if first is None else tuple(len(blocks[stage]) for stage in sorted(blocks))


def _guess(tensors: Mapping[str, Tensor], depths: tuple[int, ...]) -> Architecture:
    is_bottleneck = any(
        name.startswith(("layer1.0.conv3.", "stages.0.0.reduce.", "stages.0.0.paths.")) for name in tensors
    )
    block: Block = "bottleneck" if is_bottleneck else "basic"
    first = _find(tensors, _FIRST_REDUCE if is_bottleneck else _FIRST_BASIC)
    stem, head = _find(tensors, _STEM), _find(tensors, _CLASSIFIER, _MATRIX)
    cardinality, width = _template(tensors, is_bottleneck=is_bottleneck)
    guess = Architecture(
        stage_depths=depths,
        cardinality=cardinality,
        base_width=width,
        base_channels=64 if first is None else first.shape[1],
        block=block,
        stem="imagenet" if stem is None or stem.shape[-1] == _IMAGENET_KERNEL else "cifar",
        input_channels=_RGB if stem is None else stem.shape[1],
        num_classes=_DEFAULT_CLASSES if head is None else head.shape[0],
    )
    return guess.replace(shortcut=_shortcut(tensors, guess))


def _shortcut(tensors: Mapping[str, Tensor], guess: Architecture) -> Shortcut:
    """Return the type by which as many blocks have a projection as have one among the tensors."""
    projected = {match[0] for name in tensors if (match := _BLOCK.match(name)) and _PROJECTION.search(name)}
    for shortcut in _SHORTCUTS:
        blocks = plan(guess.replace(shortcut=shortcut)).blocks
        if sum(block.projection is not None for block in blocks) == len(projected):
            return shortcut
    return "B"


def _template(tensors: Mapping[str, Tensor], *, is_bottleneck: bool) -> tuple[int, int]:
    """Return C and d of the first block: a grouped convolution's weights are (C d, d, 3, 3)."""
    conv = _find(tensors, _FIRST_GROUPED if is_bottleneck else _FIRST_BASIC)
    if conv is None:
        return 1, 64
    if not is_bottleneck:
        return 1, conv.shape[0]
    paths = {name.split(".")[4] for name in tensors if name.startswith("stages.0.0.paths.")}
    return len(paths) or conv.shape[0] // conv.shape[1], conv.shape[1]


def _find(tensors: Mapping[str, Tensor], names: tuple[str, ...], num_dimensions: int = _KERNEL) -> Tensor | None:
    """Return the first tensor of these names that has so many dimensions, none of them empty."""
    held = (tensors[name] for name in names if name in tensors)
    return next((tensor for tensor in held if tensor.ndim == num_dimensions and 0 not in tensor.shape), None)


def _foreign(tensors: Mapping[str, Tensor]) -> str:
    num_weights = sum(tensor.numel() for tensor in tensors.values())
    if not num_weights:
        return "there are no weights in it"
    sizes = {name: complexity(architecture(name)).params for name in _ANY_SIZE}
    nearest = min(sizes, key=lambda name: abs(sizes[name] - num_weights))
    return (
        f"these are of no ResNet or ResNeXt (nearest in size: {nearest}): missing: blocks with tensors named as"
        f" layer1.0.conv1.weight is; not recognised: {listed(list(tensors)[:3])} and so on"
    )
