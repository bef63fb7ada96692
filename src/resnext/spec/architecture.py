"""What a network is: the frozen `Architecture` and the grammar of its names (sections 3.1 and 3.3, Table 1).

A name carries depth, cardinality C and width d, as `resnext50_32x4d` does in the paper's notation
ResNeXt-50 (32x4d); every other field keeps its default or is given beside the name.
"""

import re
from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from resnext.spec.value import Spec, SpecError

Block = Literal["bottleneck", "basic"]
Stem = Literal["imagenet", "cifar"]
Shortcut = Literal["A", "B", "C", "none"]

Width = Annotated[int, Field(strict=True, ge=1, le=65_536)]
StageDepth = Annotated[int, Field(strict=True, ge=1, le=1_000)]

_CONVS_PER_BLOCK = {"bottleneck": 3, "basic": 2}

_IMAGENET_DEPTHS: dict[int, tuple[Block, tuple[int, ...]]] = {
    18: ("basic", (2, 2, 2, 2)),
    34: ("basic", (3, 4, 6, 3)),
    26: ("bottleneck", (2, 2, 2, 2)),
    50: ("bottleneck", (3, 4, 6, 3)),
    101: ("bottleneck", (3, 4, 23, 3)),
    152: ("bottleneck", (3, 8, 36, 3)),
    200: ("bottleneck", (3, 24, 36, 3)),
}

_NAME = re.compile(
    r"(?P<family>resnet|resnext)(?P<depth>[0-9]{1,6})(?:_(?P<cardinality>[0-9]{1,6})x(?P<width>[0-9.]{1,6})d)?"
)
_WIDE_NAME = re.compile(r"wide_resnet(?P<depth>[0-9]{1,6})_(?P<factor>[0-9]{1,3})")


class Architecture(Spec):
    """A ResNet or ResNeXt, given by its stages and its block template.

    `base_width` is the paper's d: the width of one path in the first stage, in channels, absolute rather than
    scaled by `base_channels`. The authors' code instead derives it as D = floor(n * baseWidth / 64).
    Raises `SpecError`, a `ValueError`, on an illegal field.
    """

    stage_depths: Annotated[tuple[StageDepth, ...], Field(min_length=1, max_length=8)]
    cardinality: Width = 1
    base_width: Width = 64
    base_channels: Width = 64
    block: Block = "bottleneck"
    stem: Stem = "imagenet"
    shortcut: Shortcut = "B"
    input_channels: Width = 3
    num_classes: Width = 1000

    @model_validator(mode="after")
    def _aggregation_needs_depth_three(self) -> Self:
        if self.block == "basic" and self.cardinality != 1:
            raise SpecError(
                f"cardinality = {self.cardinality}: a basic block allows only 1, because aggregating paths of"
                " depth 2 gives nothing but a wider dense block (section 3.3); use block = 'bottleneck'"
            )
        return self

    @property
    def depth(self) -> int:
        """The number of weighted layers on the main path: stem, convolutions of the blocks, head."""
        return 2 + _CONVS_PER_BLOCK[self.block] * sum(self.stage_depths)

    @property
    def name(self) -> str:
        """Depth, C and d in the grammar of names; `architecture(name)` gives the value back for default fields."""
        family = "resnet" if self.cardinality == 1 else "resnext"
        template = (self.cardinality, self.base_width)
        suffix = "" if template == (1, 64) else f"_{self.cardinality}x{self.base_width}d"
        return f"{family}{self.depth}{suffix}"


def architecture(name: str, **fields: Any) -> Architecture:
    """Return the architecture of a name such as `resnext50_32x4d`, with any other field given beside it.

    Depths 18, 34, 26, 50, 101, 152 and 200 have the ImageNet stem and 1000 classes; a depth of 9n+2 has the CIFAR
    stem, three stages and 10 classes (section 5.3). 101 and 200 are both: they mean ImageNet unless
    `stem="cifar"` is given. A stem given beside any other name changes nothing but the stem.
    `wide_resnet50_2` is an alias of `resnet50_1x128d`.
    Raises `SpecError`, a `ValueError`, where the name does not parse or a field is illegal.
    """
    depth, cardinality, base_width = _parse(name)
    block, stem, stage_depths = _stages(depth, fields.get("stem"))
    parsed: dict[str, Any] = {
        "stage_depths": stage_depths,
        "cardinality": cardinality,
        "base_width": base_width,
        "block": block,
        "stem": stem,
        "num_classes": 10 if stem == "cifar" else 1000,
    }
    return Architecture(**{**parsed, **fields})


def _parse(name: str) -> tuple[int, int, int]:
    if wide := _WIDE_NAME.fullmatch(name):
        return int(wide["depth"]), 1, 64 * int(wide["factor"])
    match = _NAME.fullmatch(name)
    if match is None:
        raise SpecError(
            f"name = {name!r}: a network is named resnet<depth>[_1x<d>d], resnext<depth>_<C>x<d>d"
            " or wide_resnet<depth>_<factor>, for example resnext50_32x4d"
        )
    if match["width"] is None:
        if match["family"] == "resnext":
            raise SpecError(f"name = {name!r}: a ResNeXt also names C and d, for example {name}_32x4d")
        return int(match["depth"]), 1, 64
    if not match["width"].isdigit():
        raise SpecError(f"base_width = {match['width']}: the width d of a path is a whole number of channels")
    cardinality = int(match["cardinality"])
    if match["family"] == "resnet" and cardinality != 1:
        raise SpecError(f"name = {name!r}: resnet means C = 1; write {name.replace('resnet', 'resnext', 1)}")
    return int(match["depth"]), cardinality, int(match["width"])


def _stages(depth: int, stem: str | None) -> tuple[Block, Stem, tuple[int, ...]]:
    is_cifar_depth = depth > 2 and (depth - 2) % 9 == 0
    if depth in _IMAGENET_DEPTHS and not (is_cifar_depth and stem == "cifar"):
        block, stage_depths = _IMAGENET_DEPTHS[depth]
        return block, "imagenet", stage_depths
    if is_cifar_depth:
        return "bottleneck", "cifar", ((depth - 2) // 9,) * 3
    known = ", ".join(str(known) for known in sorted(_IMAGENET_DEPTHS))
    raise SpecError(f"depth = {depth}: allowed are {known} (ImageNet) and 9n+2 such as 11, 20, 29, 38 (CIFAR)")
