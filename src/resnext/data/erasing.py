"""Random erasing: a rectangle of a training image is made the mean colour (arXiv 1708.04896)."""

import math

import numpy as np

_TRIES = 10
_MIN_AREA, _MAX_AREA = 0.02, 0.33
_MIN_ASPECT, _MAX_ASPECT = 0.3, 3.3

Box = tuple[int, int, int, int]
NOTHING: Box = (0, 0, 0, 0)


def random_erasing(probability: float, size: int, rng: np.random.Generator) -> Box:
    """Draw a rectangle of an image of a size, left, top, width and height in pixels; an empty one where none is erased.

    Area, 2 to 33 % of the image, is uniform, and so is the logarithm of the aspect, 0.3 to 3.3. After ten rectangles
    that do not fit none is erased. Draws, in order: whether any is; for each try the area and the aspect, and, once
    they fit, the left and the top.
    """
    if rng.random() >= probability:
        return NOTHING
    for _ in range(_TRIES):
        area = size**2 * rng.uniform(_MIN_AREA, _MAX_AREA)
        aspect = math.exp(rng.uniform(math.log(_MIN_ASPECT), math.log(_MAX_ASPECT)))
        width, height = max(1, round(math.sqrt(area * aspect))), max(1, round(math.sqrt(area / aspect)))
        if width <= size and height <= size:
            left, top = rng.integers(size - width, endpoint=True), rng.integers(size - height, endpoint=True)
            return int(left), int(top), width, height
    return NOTHING
