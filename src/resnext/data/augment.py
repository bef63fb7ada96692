"""Random changes of training images, each a pure function of an image and a random generator (section 4).

What moves or resamples pixels is done here, on bytes. What must come after them, the change of colours that is not
clamped, the shift of the normalised image and what is erased of it, is drawn here and carried out on the device by
`network_input`.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from resnext.data.colour import random_colours
from resnext.data.erasing import Box, random_erasing
from resnext.data.policy import Canvas, trivial_augment
from resnext.imaging.transform import RESAMPLING, central_crop
from resnext.imaging.undecoded import Undecoded
from resnext.spec.preprocessing import Preprocessing
from resnext.spec.recipe import Augmentation, chosen

_CROP_TRIES = 10
_MIN_ASPECT, _MAX_ASPECT = 3 / 4, 4 / 3


@dataclass(frozen=True, slots=True, eq=False)
class Variant:
    """A random variant of a training image: bytes of the network's input size, and what is to be done to them then.

    `colour` (3, 4) maps (red, green, blue, 1) in [0, 1] to RGB; `shift` is the left and the top, in pixels, of the
    window that is cut from the normalised image, and `erased` the left, top, width and height of what is then erased,
    see `network_input`. None where the recipe has no such change.
    """

    image: Image.Image
    colour: NDArray[np.float32] | None = None
    shift: tuple[int, int] | None = None
    erased: Box | None = None


Augment = Callable[[Image.Image | Undecoded, np.random.Generator], Variant]


def augmenter(augmentation: Augmentation, preprocessing: Preprocessing) -> Augment:
    """Return the function that turns a training image into a random variant of the network's input size.

    One that is not decoded yet is decoded no larger than its crop needs, see `Undecoded`.
    It draws, in order: the crop, the rotation, the policy's change, the colours (see `random_colours`), the flip, the
    shift, what is erased; what the recipe does not vary draws nothing.
    """
    crop = chosen(augmentation.crop, "augmentation.crop")
    min_area = chosen(augmentation.min_area, "augmentation.min_area")
    max_rotation = chosen(augmentation.max_rotation_degrees, "augmentation.max_rotation_degrees")
    flips = chosen(augmentation.flip, "augmentation.flip")
    policy = chosen(augmentation.policy, "augmentation.policy")
    erasing = chosen(augmentation.erasing, "augmentation.erasing")
    max_shift = augmentation.max_shift if crop == "shift" else 0
    whole_pixels = augmentation.aspect == "uniform_swapped"
    canvas, size = Canvas.of(preprocessing), preprocessing.image_size

    def augment(source: Image.Image | Undecoded, rng: np.random.Generator) -> Variant:
        if crop == "random_resized":
            cut = random_pixels_crop if whole_pixels else random_resized_crop
            image = cut(source, min_area, preprocessing, rng)
        else:
            image = _central_crop(source, preprocessing)
        if max_rotation:
            image = image.rotate(rng.uniform(-max_rotation, max_rotation), canvas.resampling)
        if policy == "trivial":
            image = trivial_augment(image, canvas, rng)
        colour = random_colours(augmentation, image, rng)
        if flips and rng.random() < 0.5:
            image = ImageOps.mirror(image)
        shift = random_shift(max_shift, rng) if max_shift else None
        return Variant(image, colour, shift, random_erasing(erasing, size, rng) if erasing else None)

    return augment


def random_resized_crop(
    image: Image.Image | Undecoded, min_area: float, preprocessing: Preprocessing, rng: np.random.Generator
) -> Image.Image:
    """Crop a random area of at least `min_area` of the image and of aspect 3/4 to 4/3, and resize it to the input.

    Area and logarithm of the aspect are uniform; after ten crops that do not fit, the central crop is taken.
    Each try draws the area and the aspect, and, once they fit, the left and the top.
    """
    whole_width, whole_height = image.size
    area, size = whole_width * whole_height, preprocessing.image_size
    for _ in range(_CROP_TRIES):
        target = area * rng.uniform(min_area, 1.0)
        aspect = math.exp(rng.uniform(math.log(_MIN_ASPECT), math.log(_MAX_ASPECT)))
        width, height = math.sqrt(target * aspect), math.sqrt(target / aspect)
        if width <= whole_width and height <= whole_height:
            left, top = rng.uniform(0, whole_width - width), rng.uniform(0, whole_height - height)
            box = (left, top, left + width, top + height)
            if isinstance(image, Undecoded):
                return image.cropped(box, size, preprocessing.interpolation)
            return image.resize((size, size), RESAMPLING[preprocessing.interpolation], box=box)
    return _central_crop(image, preprocessing)


def random_pixels_crop(
    image: Image.Image | Undecoded, min_area: float, preprocessing: Preprocessing, rng: np.random.Generator
) -> Image.Image:
    """Crop and resize as the authors' code does: whole pixels, and an aspect that is uniform in 3/4 to 4/3.

    Width and height are swapped half the time. After ten crops that do not fit, the shorter side is resized to the
    input and the centre taken. Each try draws the area, the aspect and the swap, and, once they fit, the left and the
    top. Pixels outside the crop have no influence, which those beside a crop of `random_resized_crop` have.
    """
    whole_width, whole_height = image.size
    area, size = whole_width * whole_height, preprocessing.image_size
    for _ in range(_CROP_TRIES):
        target = area * rng.uniform(min_area, 1.0)
        aspect = rng.uniform(_MIN_ASPECT, _MAX_ASPECT)
        width, height = max(1, round(math.sqrt(target * aspect))), max(1, round(math.sqrt(target / aspect)))
        if rng.random() < 0.5:
            width, height = height, width
        if width <= whole_width and height <= whole_height:
            left = int(rng.integers(whole_width - width, endpoint=True))
            top = int(rng.integers(whole_height - height, endpoint=True))
            box = (left, top, left + width, top + height)
            if isinstance(image, Undecoded):
                return image.cropped(box, size, preprocessing.interpolation)
            return image.crop(box).resize((size, size), RESAMPLING[preprocessing.interpolation])
    return _central_crop(image, preprocessing.replace(resize_size=size))


def _central_crop(image: Image.Image | Undecoded, preprocessing: Preprocessing) -> Image.Image:
    if isinstance(image, Undecoded):
        times = preprocessing.resize_size / min(image.size)
        width, height = (math.ceil(times * side) for side in image.size)
        image = image.decoded(width, height)
    return central_crop(image, preprocessing)


def random_shift(max_shift: int, rng: np.random.Generator) -> tuple[int, int]:
    """Draw where a window of the image's size lies on the image padded by `max_shift` pixels (section 5.3).

    Its left and top are relative to the image's own: whole pixels from -`max_shift` to `max_shift`.
    """
    left, top = rng.integers(-max_shift, max_shift, size=2, endpoint=True)
    return int(left), int(top)
