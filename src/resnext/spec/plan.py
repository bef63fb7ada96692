"""The geometry of a network, block by block (Table 1 and the two template rules of section 3.1).

`plan` turns an `Architecture` into data: every layer with its name, channels, stride and groups. The network, its
cost, its layer table and the name maps of other libraries are folds over this one list.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from resnext.spec.architecture import Architecture, Block

ShortcutKind = Literal["identity", "projection", "padding", "none"]
Form = Literal["aggregated", "concatenated", "grouped"]  # (a), (b) and (c) of Fig. 3

BOTTLENECK_EXPANSION = 4
POOL_KERNEL, POOL_STRIDE = 3, 2


@dataclass(frozen=True, kw_only=True, slots=True)
class ConvPlan:
    """A convolution without bias, followed by batch normalisation; `name` is its path in the network."""

    name: str
    in_channels: int
    out_channels: int
    kernel_size: int
    stride: int = 1
    groups: int = 1

    @property
    def padding(self) -> int:
        """Zero padding on each side, in pixels, that keeps the map size at stride 1."""
        return self.kernel_size // 2

    @property
    def num_weights(self) -> int:
        """k * k * c * m / g weights (section 2, grouped convolutions)."""
        return self.kernel_size**2 * self.in_channels * self.out_channels // self.groups


@dataclass(frozen=True, kw_only=True, slots=True)
class BlockPlan:
    """One residual block: its main path in order, and what its shortcut does.

    A bottleneck's main path is `reduce`, `transform`, `expand`; a basic block's is `transform`, `expand`, both 3x3.
    `stage` counts from 1: stage 1 is the paper's conv2.
    """

    name: str
    kind: Block
    stage: int
    convs: tuple[ConvPlan, ...]
    shortcut: ShortcutKind
    projection: ConvPlan | None = None

    def conv(self, role: str) -> ConvPlan:
        """Return the convolution of the main path that plays `reduce`, `transform` or `expand`."""
        return next(conv for conv in self.convs if conv.name == f"{self.name}.{role}")

    @property
    def in_channels(self) -> int:
        """Channels of the block's input."""
        return self.convs[0].in_channels

    @property
    def out_channels(self) -> int:
        """Channels of the block's output."""
        return self.convs[-1].out_channels

    @property
    def inner_channels(self) -> int:
        """C * d * 2^stage: the width between `reduce` and `expand`."""
        return self.convs[-1].in_channels

    @property
    def cardinality(self) -> int:
        """The number C of paths."""
        return self.conv("transform").groups

    @property
    def stride(self) -> int:
        """The stride of the block, taken in its `transform`."""
        return self.conv("transform").stride


@dataclass(frozen=True, kw_only=True, slots=True)
class HeadPlan:
    """The linear classifier after global average pooling."""

    name: str
    in_features: int
    out_features: int


@dataclass(frozen=True, kw_only=True, slots=True)
class NetworkPlan:
    """A whole network: stem, whether a 3x3 max pool of stride 2 follows it, blocks in order, head."""

    stem: ConvPlan
    has_pool: bool
    blocks: tuple[BlockPlan, ...]
    head: HeadPlan

    @property
    def stages(self) -> tuple[tuple[BlockPlan, ...], ...]:
        """The blocks grouped by stage."""
        last = self.blocks[-1].stage
        return tuple(tuple(b for b in self.blocks if b.stage == stage) for stage in range(1, last + 1))

    def convs(self) -> Iterator[ConvPlan]:
        """Yield each convolution, a block's projection after its main path."""
        yield self.stem
        for block in self.blocks:
            yield from block.convs
            if block.projection is not None:
                yield block.projection


def plan(architecture: Architecture) -> NetworkPlan:
    """Lay out an architecture (Table 1; stride 2 sits in the 3x3 of the first block of each later stage)."""
    is_imagenet = architecture.stem == "imagenet"
    stem = ConvPlan(
        name="stem",
        in_channels=architecture.input_channels,
        out_channels=architecture.base_channels,
        kernel_size=7 if is_imagenet else 3,
        stride=2 if is_imagenet else 1,
    )
    blocks: list[BlockPlan] = []
    channels = stem.out_channels
    for stage, num_blocks in enumerate(architecture.stage_depths, start=1):
        for index in range(num_blocks):
            stride = 2 if stage > 1 and index == 0 else 1
            blocks.append(_block(architecture, f"stages.{stage - 1}.{index}", (stage, channels, stride)))
            channels = blocks[-1].out_channels
    head = HeadPlan(name="head", in_features=channels, out_features=architecture.num_classes)
    return NetworkPlan(stem=stem, has_pool=is_imagenet, blocks=tuple(blocks), head=head)


def _block(architecture: Architecture, name: str, place: tuple[int, int, int]) -> BlockPlan:
    stage, in_channels, stride = place
    width_scale = 2 ** (stage - 1)
    inner = architecture.cardinality * architecture.base_width * width_scale
    expansion = BOTTLENECK_EXPANSION if architecture.block == "bottleneck" else 1
    out = expansion * architecture.base_channels * width_scale

    def conv(role: str, channels: tuple[int, int], kernel_size: int, stride: int = 1, groups: int = 1) -> ConvPlan:
        return ConvPlan(
            name=f"{name}.{role}",
            in_channels=channels[0],
            out_channels=channels[1],
            kernel_size=kernel_size,
            stride=stride,
            groups=groups,
        )

    convs: tuple[ConvPlan, ...]
    if architecture.block == "bottleneck":
        convs = (
            conv("reduce", (in_channels, inner), 1),
            conv("transform", (inner, inner), 3, stride, architecture.cardinality),
            conv("expand", (inner, out), 1),
        )
    else:
        convs = (conv("transform", (in_channels, inner), 3, stride), conv("expand", (inner, out), 3))
    shortcut = _shortcut(architecture, changes_shape=stride != 1 or in_channels != out)
    projection = conv("shortcut", (in_channels, out), 1, stride) if shortcut == "projection" else None
    return BlockPlan(
        name=name, kind=architecture.block, stage=stage, convs=convs, shortcut=shortcut, projection=projection
    )


def _shortcut(architecture: Architecture, *, changes_shape: bool) -> ShortcutKind:
    """What the shortcut of one block does, for the types A, B and C of He et al. and for the paper's ablation."""
    if architecture.shortcut == "none":
        return "none"
    if architecture.shortcut == "C":
        return "projection"
    if not changes_shape:
        return "identity"
    return "projection" if architecture.shortcut == "B" else "padding"
