"""What a network costs: parameters, multiply-accumulates and activations, as folds over the plan (section 4).

Counts are exact and need no torch. `macs` counts one multiply-accumulate as one, without biases and batch
normalisation, as the paper's "FLOPs" do; `activations` counts the elements that convolutions write.
"""

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

from resnext.spec.architecture import Architecture, architecture
from resnext.spec.plan import BOTTLENECK_EXPANSION, POOL_KERNEL, POOL_STRIDE, ConvPlan, plan
from resnext.spec.value import SpecError

DEFAULT_IMAGE_SIZE = {"imagenet": 224, "cifar": 32}


@dataclass(frozen=True, kw_only=True, slots=True)
class LayerCost:
    """One layer of the table; a convolution's `params` include the scale and shift of its batch normalisation."""

    name: str
    kind: Literal["conv", "linear"]
    in_channels: int
    out_channels: int
    kernel_size: int
    stride: int
    groups: int
    output_size: tuple[int, int]
    params: int
    macs: int
    activations: int


@dataclass(frozen=True, kw_only=True)
class Complexity:
    """The cost of one network for one image of `image_size` (height, width) pixels."""

    image_size: tuple[int, int]
    layers: tuple[LayerCost, ...]

    @cached_property
    def params(self) -> int:
        """Learnable numbers: weights, biases, and scale and shift of batch normalisation."""
        return sum(layer.params for layer in self.layers)

    @cached_property
    def macs(self) -> int:
        """Multiply-accumulates of one forward pass."""
        return sum(layer.macs for layer in self.layers)

    @cached_property
    def activations(self) -> int:
        """Elements written by all convolutions in one forward pass."""
        return sum(layer.activations for layer in self.layers)


def complexity(value: Architecture | str, image_size: int | tuple[int, int] | None = None) -> Complexity:
    """Count the cost of an architecture, or of a name, layer by layer.

    `image_size` is the side of a square or (height, width), in pixels; left out, it is 224 for the ImageNet stem
    and 32 for the CIFAR stem. Raises `SpecError` on a size below 1.
    """
    value = architecture(value) if isinstance(value, str) else value
    size = _image_size(DEFAULT_IMAGE_SIZE[value.stem] if image_size is None else image_size)
    network = plan(value)
    layers = [_conv_cost(network.stem, size)]
    map_size = layers[0].output_size
    if network.has_pool:
        map_size = _strided(map_size, POOL_KERNEL, POOL_STRIDE)
    for block in network.blocks:
        block_input = map_size
        for conv in block.convs:
            layers.append(_conv_cost(conv, map_size))
            map_size = layers[-1].output_size
        if block.projection is not None:
            layers.append(_conv_cost(block.projection, block_input))
    layers.append(_head_cost(network.head.in_features, network.head.out_features))
    return Complexity(image_size=size, layers=tuple(layers))


def template_weights(value: Architecture) -> int:
    """Weights of the conv2 template, C * (256 d + 3 * 3 * d * d + 256 d) at 64 base channels (Eq. 4)."""
    return _template_weights(value.cardinality, value.base_width, _outer_channels(value))


def solve_width(*, cardinality: int, like: Architecture | str) -> int:
    """Return the width d that keeps complexity at `cardinality` paths (Table 2).

    It is the whole number whose conv2 template (Eq. 4) has the number of weights nearest to that of `like`; of two
    equally near, the smaller. Raises `SpecError` on a cardinality below 1 or a `like` without bottlenecks.
    """
    like = architecture(like) if isinstance(like, str) else like
    return equal_template(cardinality, like).base_width


@dataclass(frozen=True, kw_only=True, slots=True)
class EqualTemplate:
    """A row of Table 2: paths C, width d of each, and the exact weights of the template."""

    cardinality: int
    base_width: int
    weights: int


def equal_template(cardinality: int, like: Architecture) -> EqualTemplate:
    """Return the template of `cardinality` paths whose weights are nearest to those of `like`; see `solve_width`."""
    if cardinality < 1:
        raise SpecError(f"cardinality = {cardinality}: at least 1 path is needed")
    outer, target = _outer_channels(like), template_weights(like)
    # The positive root of 9 C d^2 + 2 C outer d = target, rounded down; the nearest whole number is beside it.
    root = (math.isqrt(outer * outer + 9 * target // cardinality) - outer) // 9
    nearest = min(range(max(1, root), root + 3), key=lambda d: abs(_template_weights(cardinality, d, outer) - target))
    return EqualTemplate(
        cardinality=cardinality, base_width=nearest, weights=_template_weights(cardinality, nearest, outer)
    )


def _outer_channels(value: Architecture) -> int:
    if value.block != "bottleneck":
        raise SpecError(f"block = {value.block!r}: Eq. 4 is stated for the bottleneck template alone")
    return BOTTLENECK_EXPANSION * value.base_channels


def _template_weights(cardinality: int, width: int, outer_channels: int) -> int:
    return cardinality * (outer_channels * width + 3 * 3 * width * width + width * outer_channels)


def _image_size(size: int | tuple[int, int]) -> tuple[int, int]:
    height, width = (size, size) if isinstance(size, int) else size
    if min(height, width) < 1:
        raise SpecError(f"image_size = {size}: height and width are at least 1 pixel")
    return height, width


def _strided(size: tuple[int, int], kernel_size: int, stride: int) -> tuple[int, int]:
    height, width = ((side + 2 * (kernel_size // 2) - kernel_size) // stride + 1 for side in size)
    return height, width


def _conv_cost(conv: ConvPlan, input_size: tuple[int, int]) -> LayerCost:
    height, width = _strided(input_size, conv.kernel_size, conv.stride)
    return LayerCost(
        name=conv.name,
        kind="conv",
        in_channels=conv.in_channels,
        out_channels=conv.out_channels,
        kernel_size=conv.kernel_size,
        stride=conv.stride,
        groups=conv.groups,
        output_size=(height, width),
        params=conv.num_weights + 2 * conv.out_channels,
        macs=conv.num_weights * height * width,
        activations=conv.out_channels * height * width,
    )


def _head_cost(in_features: int, out_features: int) -> LayerCost:
    return LayerCost(
        name="head",
        kind="linear",
        in_channels=in_features,
        out_channels=out_features,
        kernel_size=1,
        stride=1,
        groups=1,
        output_size=(1, 1),
        params=in_features * out_features + out_features,
        macs=in_features * out_features,
        activations=0,
    )
