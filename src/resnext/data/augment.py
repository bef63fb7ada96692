"""Random changes of training images, each a pure function of an image and a random generator (section 4)."""

import math
from collections.abc import Callable

import numpy as np
from PIL import Image, ImageOps

from resnext.imaging.transform import RESAMPLING, central_crop
from resnext.spec.preprocessing import Preprocessing
from resnext.spec.recipe import Augmentation, chosen

Augment = Callable[[Image.Image, np.random.Generator], Image.Image]

_CROP_TRIES = 10
_ASPECT_RANGE = (3 / 4, 4 / 3)


def augmenter(augmentation: Augmentation, preprocessing: Preprocessing) -> Augment:
    """Return the function that turns a training image into a random variant of the network's input size."""

    crop = chosen(augmentation.crop, "augmentation.crop")
    min_area = chosen(augmentation.min_area, "augmentation.min_area")
    max_rotation = chosen(augmentation.max_rotation_degrees, "augmentation.max_rotation_degrees")
    flips = chosen(augmentation.flip, "augmentation.flip")
    resampling = RESAMPLING[preprocessing.interpolation]

    def augment(image: Image.Image, rng: np.random.Generator) -> Image.Image:
        match crop:
            case "random_resized":
                image = random_resized_crop(image, min_area, preprocessing, rng)
            case "shift":
                image = random_shift(central_crop(image, preprocessing), augmentation.max_shift, rng)
            case _:
                image = central_crop(image, preprocessing)
        if max_rotation:
            image = image.rotate(rng.uniform(-max_rotation, max_rotation), resampling)
        return ImageOps.mirror(image) if flips and rng.random() < 0.5 else image

    return augment


def random_resized_crop(
    image: Image.Image, min_area: float, preprocessing: Preprocessing, rng: np.random.Generator
) -> Image.Image:
    """Crop a random area of at least `min_area` of the image and of aspect 3/4 to 4/3, and resize it to the input.

    Area and logarithm of the aspect are uniform; after ten crops that do not fit, the central crop is taken.
    """
    area = image.width * image.height
    resampling = RESAMPLING[preprocessing.interpolation]
    size = (preprocessing.image_size, preprocessing.image_size)
    for _ in range(_CROP_TRIES):
        target = area * rng.uniform(min_area, 1.0)
        aspect = math.exp(rng.uniform(*np.log(_ASPECT_RANGE)))
        width, height = math.sqrt(target * aspect), math.sqrt(target / aspect)
        if width <= image.width and height <= image.height:
            left, top = rng.uniform(0, image.width - width), rng.uniform(0, image.height - height)
            return image.resize(size, resampling, box=(left, top, left + width, top + height))
    return central_crop(image, preprocessing)


def random_shift(image: Image.Image, max_shift: int, rng: np.random.Generator) -> Image.Image:
    """Pad with zeros by `max_shift` pixels and crop back at a random place (section 5.3)."""
    left, top = (int(shift) for shift in rng.integers(-max_shift, max_shift + 1, size=2))
    return image.crop((left, top, left + image.width, top + image.height))
