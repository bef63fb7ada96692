"""Mixup and CutMix: images of a batch mixed in pairs (arXiv 1710.09412, 1905.04899).

A batch is mixed in one way and by one weight, a pure function of seed, epoch and step. An image's partner stands before
it in its group of batch norm, so that neither processes nor micro-batches change what is mixed with what.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from resnext.spec.recipe import Mixing, chosen


@dataclass(frozen=True, slots=True)
class Mix:
    """How every image of a batch is mixed with its partner.

    `weight` is its own share; `box` is the rectangle that its partner fills, as left, top, width and height in pixels,
    or None where the two are blended.
    """

    weight: float
    box: tuple[int, int, int, int] | None = None


DrawMix = Callable[[np.random.Generator], Mix]


def mixer(mixing: Mixing, image_size: int) -> DrawMix | None:
    """Return the function that draws how a batch of images of a size is mixed; None where the recipe mixes none.

    It draws, in order: a coin, where the recipe has both ways; the weight; the centre of the rectangle, if it cuts one.
    """
    mixup, cutmix = chosen(mixing.mixup, "mixing.mixup"), chosen(mixing.cutmix, "mixing.cutmix")
    if not mixup and not cutmix:
        return None

    def draw(rng: np.random.Generator) -> Mix:
        cuts = bool(rng.integers(2)) if mixup and cutmix else bool(cutmix)
        alpha = cutmix if cuts else mixup
        weight = float(rng.beta(alpha, alpha))
        return _cut(weight, image_size, rng) if cuts else Mix(weight)

    return draw


def _cut(weight: float, size: int, rng: np.random.Generator) -> Mix:
    """Draw a rectangle that leaves about a share `weight` of the image, and take the share that it leaves exactly.

    Its centre lies anywhere in the image, and what would be outside is cut off.
    """
    side = round(size * math.sqrt(1 - weight))
    left, top = (int(centre) - side // 2 for centre in rng.integers(size, size=2))
    right, bottom = min(left + side, size), min(top + side, size)
    left, top = max(left, 0), max(top, 0)
    width, height = right - left, bottom - top
    return Mix(1 - width * height / size**2, (left, top, width, height))


def partners(num_images: int, group: int | None) -> Tensor:
    """Return the place of every image's partner, (images,): the one before it in its group, for the first the last.

    A group has `group` images, all where that is None; the last may have fewer.
    """
    return torch.cat([part.roll(1) for part in torch.split(torch.arange(num_images), group or num_images)])


def mixed(images: Tensor, mix: Mix, places: Tensor) -> Tensor:
    """Return images (batch, channels, height, width) mixed with those at `places` of the batch."""
    if mix.box is None:
        return torch.lerp(images, images[places], 1 - mix.weight)
    left, top, width, height = mix.box
    window = (slice(None), slice(None), slice(top, top + height), slice(left, left + width))
    result = images.clone()
    result[window] = images[window][places]
    return result
