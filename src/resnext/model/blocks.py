"""The residual blocks in their fastest form: Fig. 3(c), and the basic block of two 3x3 (section 3.3).

Batch normalisation follows every convolution and ReLU follows it, except at the end of a block, where ReLU comes
after the addition (section 4); there is no pre-activation.
"""

from typing import ClassVar

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from resnext.spec.plan import BlockPlan, ConvPlan, Form

Map = Float[Tensor, "batch _ _ _"]


class ConvNorm(nn.Module):
    """A convolution without bias and its batch normalisation."""

    def __init__(self, plan: ConvPlan) -> None:
        super().__init__()
        self.conv = bare_conv(plan)
        self.norm = nn.BatchNorm2d(plan.out_channels)

    def forward(self, x: Map) -> Map:
        """Normalise the convolution of a map."""
        return self.norm(self.conv(x))  # type: ignore[no-any-return]


class ZeroPad(nn.Module):
    """Shortcut A: subsample the map and fill the new channels with zeros; no weights."""

    def __init__(self, plan: BlockPlan) -> None:
        super().__init__()
        self.stride = plan.stride
        self.new_channels = plan.out_channels - plan.in_channels

    def forward(self, x: Map) -> Map:
        """Return the map at the shape of the block's output."""
        return F.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, 0, self.new_channels))


class Bottleneck(nn.Module):
    """1x1 to C*d channels, 3x3 in C groups, 1x1 out: C aggregated paths as one grouped convolution (Fig. 3c)."""

    form: ClassVar[Form] = "grouped"

    def __init__(self, plan: BlockPlan) -> None:
        super().__init__()
        self.reduce = ConvNorm(plan.conv("reduce"))
        self.transform = ConvNorm(plan.conv("transform"))
        self.expand = ConvNorm(plan.conv("expand"))
        self.shortcut = make_shortcut(plan)

    def forward(self, x: Map) -> Map:
        """Map (batch, in, height, width) to (batch, out, height / stride, width / stride)."""
        y = F.relu(self.reduce(x), inplace=True)
        y = F.relu(self.transform(y), inplace=True)
        return join(self.expand(y), x, self.shortcut)


class BasicBlock(nn.Module):
    """Two 3x3 convolutions, the block of ResNet-18 and -34."""

    form: ClassVar[Form] = "grouped"

    def __init__(self, plan: BlockPlan) -> None:
        super().__init__()
        self.transform = ConvNorm(plan.conv("transform"))
        self.expand = ConvNorm(plan.conv("expand"))
        self.shortcut = make_shortcut(plan)

    def forward(self, x: Map) -> Map:
        """Map (batch, in, height, width) to (batch, out, height / stride, width / stride)."""
        y = F.relu(self.transform(x), inplace=True)
        return join(self.expand(y), x, self.shortcut)


def bare_conv(plan: ConvPlan) -> nn.Conv2d:
    """Make the convolution of a plan, without the batch normalisation that follows it."""
    return nn.Conv2d(
        plan.in_channels,
        plan.out_channels,
        plan.kernel_size,
        stride=plan.stride,
        padding=plan.padding,
        groups=plan.groups,
        bias=False,
    )


def make_shortcut(plan: BlockPlan) -> nn.Module | None:
    """Make the shortcut of a block; None where the paper's ablation removes it."""
    if plan.shortcut == "none":
        return None
    if plan.projection is not None:
        return ConvNorm(plan.projection)
    return ZeroPad(plan) if plan.shortcut == "padding" else nn.Identity()


def join(y: Map, x: Map, shortcut: nn.Module | None) -> Map:
    """End a block: add the shortcut of its input `x` to the output `y` of its main path, then ReLU."""
    return F.relu(y if shortcut is None else y + shortcut(x), inplace=True)
