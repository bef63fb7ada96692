"""Random changes of colour, each an affine map of RGB, so that one map carries them all (section 4; the authors' code).

Brightness, contrast and saturation blend the image with black, with its mean grey and with its own grey; lighting adds
a constant. Given the image's mean colour each is affine in RGB, and so is any sequence of them, as long as no value is
clamped. Maps are 4x4, of (red, green, blue, 1) in [0, 1], and compose by multiplication.
"""

from collections.abc import Iterable, Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageStat

from resnext.spec.recipe import Augmentation

Change = Literal["brightness", "contrast", "saturation"]
Map = NDArray[np.float64]

GREY = (0.299, 0.587, 0.114)

# Of ImageNet's colours; eigenvectors are columns, a row for each of red, green and blue.
EIGENVALUES = (0.2175, 0.0188, 0.0045)
EIGENVECTORS = (
    (-0.5675, 0.7192, 0.4009),
    (-0.5808, -0.0045, -0.8140),
    (-0.5836, -0.6948, 0.4203),
)

_BLACK: Map = np.diag([0.0, 0.0, 0.0, 1.0])
_OWN_GREY: Map = np.array([[*GREY, 0.0]] * 3 + [[0.0, 0.0, 0.0, 1.0]])


def mean_colour(image: Image.Image) -> Map:
    """Return the mean of an RGB image, (red, green, blue) in [0, 1]."""
    return np.array(ImageStat.Stat(image).mean) / 255


def random_colours(
    augmentation: Augmentation, image: Image.Image, rng: np.random.Generator
) -> NDArray[np.float32] | None:
    """Draw a change of colour for an RGB image: (3, 4), from (red, green, blue, 1) to RGB. None where nothing varies.

    Draws, in order: the order of the changes of a strength above 0; for each of them, in that order, a scale uniform
    in 1 plus or minus its strength; three normal numbers for lighting. What has no strength draws nothing.
    """
    strengths: dict[Change, float] = {
        "brightness": augmentation.brightness,
        "contrast": augmentation.contrast,
        "saturation": augmentation.saturation,
    }
    active = [change for change, strength in strengths.items() if strength]
    if not active and not augmentation.lighting:
        return None
    colours: Map = np.eye(4)
    if active:
        order = [active[place] for place in rng.permutation(len(active))]
        changes = [(change, 1 + rng.uniform(-strengths[change], strengths[change])) for change in order]
        colours = jitter(changes, mean_colour(image))
    if augmentation.lighting:
        colours = lighting(rng.normal(0.0, augmentation.lighting, 3)) @ colours
    return colours[:3].astype(np.float32)


def jitter(changes: Iterable[tuple[Change, float]], mean: Map) -> Map:
    """Return the map of changes made one after another, each to its scale, of an image of a mean colour."""
    colours: Map = np.eye(4)
    for change, scale in changes:
        match change:
            case "brightness":
                other = _BLACK
            case "contrast":
                other = _constant(float(np.dot(GREY, colours[:3] @ [*mean, 1.0])))
            case "saturation":
                other = _OWN_GREY
        colours = (scale * np.eye(4) + (1 - scale) * other) @ colours
    return colours


def lighting(amounts: Sequence[float] | Map) -> Map:
    """Return the map that adds the given amount of each principal component, times its eigenvalue."""
    colours: Map = np.eye(4)
    colours[:3, 3] = np.array(EIGENVECTORS) @ (np.array(EIGENVALUES) * amounts)
    return colours


def _constant(grey: float) -> Map:
    colours = _BLACK.copy()
    colours[:3, 3] = grey
    return colours
