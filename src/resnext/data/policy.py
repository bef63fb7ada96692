"""TrivialAugment: one change of an image, any of fourteen, of any strength (arXiv 2103.10158, the wide ranges)."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageEnhance, ImageOps

from resnext.imaging.transform import RESAMPLING
from resnext.spec.preprocessing import Preprocessing

NUM_STRENGTHS = 31

_MAX_SHEAR = 0.99
_MAX_TRANSLATION = 32
_MAX_DEGREES = 135.0
_MAX_CHANGE = 0.99
_MOST_BITS, _MOST_BITS_TAKEN = 8, 6
_WHITE = 255


@dataclass(frozen=True, slots=True)
class Canvas:
    """How pixels are resampled where a change moves them, and the colour of those that come in from outside."""

    resampling: Image.Resampling
    fill: tuple[int, int, int]

    @classmethod
    def of(cls, preprocessing: Preprocessing) -> "Canvas":
        """Return the canvas of a network's input: its interpolation, and its mean colour outside."""
        red, green, blue = (min(_WHITE, max(0, round(_WHITE * value))) for value in preprocessing.mean)
        return cls(RESAMPLING[preprocessing.interpolation], (red, green, blue))


Operation = Callable[[Image.Image, float, Canvas], Image.Image]


def trivial_augment(image: Image.Image, canvas: Canvas, rng: np.random.Generator) -> Image.Image:
    """Make one change of an RGB image.

    Draws, in order: which of `OPERATIONS`, one of 31 strengths from 0 to 1, and its sign; all are drawn even where the
    change has no sign or no strength.
    """
    operation = OPERATIONS[int(rng.integers(len(OPERATIONS)))]
    strength = int(rng.integers(NUM_STRENGTHS)) / (NUM_STRENGTHS - 1)
    return operation(image, strength if rng.integers(2) else -strength, canvas)


def identity(image: Image.Image, _: float, __: Canvas) -> Image.Image:
    """Leave the image as it is."""
    return image


def shear_x(image: Image.Image, strength: float, canvas: Canvas) -> Image.Image:
    """Slant the image sideways, by at most 0.99 pixels a row; the top row stays."""
    return _moved(image, (1, strength * _MAX_SHEAR, 0, 0, 1, 0), canvas)


def shear_y(image: Image.Image, strength: float, canvas: Canvas) -> Image.Image:
    """Slant the image upwards or downwards, by at most 0.99 pixels a column; the left column stays."""
    return _moved(image, (1, 0, 0, strength * _MAX_SHEAR, 1, 0), canvas)


def translate_x(image: Image.Image, strength: float, canvas: Canvas) -> Image.Image:
    """Move the image sideways, by at most 32 whole pixels, or by its width where that is less."""
    return _moved(image, (1, 0, -int(strength * min(_MAX_TRANSLATION, image.width)), 0, 1, 0), canvas)


def translate_y(image: Image.Image, strength: float, canvas: Canvas) -> Image.Image:
    """Move the image up or down, by at most 32 whole pixels, or by its height where that is less."""
    return _moved(image, (1, 0, 0, 0, 1, -int(strength * min(_MAX_TRANSLATION, image.height))), canvas)


def rotate(image: Image.Image, strength: float, canvas: Canvas) -> Image.Image:
    """Turn the image about its centre, by at most 135 degrees."""
    return image.rotate(strength * _MAX_DEGREES, canvas.resampling, fillcolor=canvas.fill)


def brightness(image: Image.Image, strength: float, _: Canvas) -> Image.Image:
    """Blend the image with black, or away from it."""
    return ImageEnhance.Brightness(image).enhance(1 + strength * _MAX_CHANGE)


def colour(image: Image.Image, strength: float, _: Canvas) -> Image.Image:
    """Blend the image with its grey, or away from it."""
    return ImageEnhance.Color(image).enhance(1 + strength * _MAX_CHANGE)


def contrast(image: Image.Image, strength: float, _: Canvas) -> Image.Image:
    """Blend the image with its mean grey, or away from it."""
    return ImageEnhance.Contrast(image).enhance(1 + strength * _MAX_CHANGE)


def sharpness(image: Image.Image, strength: float, _: Canvas) -> Image.Image:
    """Blend the image with a smoothed one, or away from it."""
    return ImageEnhance.Sharpness(image).enhance(1 + strength * _MAX_CHANGE)


def posterise(image: Image.Image, strength: float, _: Canvas) -> Image.Image:
    """Keep 8 to 2 bits of every value."""
    return ImageOps.posterize(image, _MOST_BITS - round(abs(strength) * _MOST_BITS_TAKEN))


def solarise(image: Image.Image, strength: float, _: Canvas) -> Image.Image:
    """Invert all values from a threshold on, which is beyond white at strength 0 and black at 1."""
    return ImageOps.solarize(image, round((1 - abs(strength)) * (_WHITE + 1)))


def autocontrast(image: Image.Image, _: float, __: Canvas) -> Image.Image:
    """Stretch the values of every channel to the whole range."""
    return ImageOps.autocontrast(image)


def equalise(image: Image.Image, _: float, __: Canvas) -> Image.Image:
    """Make all values of every channel about equally frequent."""
    return ImageOps.equalize(image)


OPERATIONS: tuple[Operation, ...] = (
    identity,
    shear_x,
    shear_y,
    translate_x,
    translate_y,
    rotate,
    brightness,
    colour,
    contrast,
    sharpness,
    posterise,
    solarise,
    autocontrast,
    equalise,
)


def _moved(image: Image.Image, matrix: tuple[float, ...], canvas: Canvas) -> Image.Image:
    """Return the image whose pixel (x, y) is that at (a x + b y + c, d x + e y + f) of the given one."""
    return image.transform(image.size, Image.Transform.AFFINE, matrix, canvas.resampling, fillcolor=canvas.fill)
