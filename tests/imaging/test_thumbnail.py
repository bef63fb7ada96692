from io import BytesIO

import pytest
from PIL import Image

from resnext.imaging.thumbnail import thumbnail


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA"])
@pytest.mark.parametrize(
    ("size", "shown"),
    [((8, 8), (96, 96)), ((60, 30), (60, 30)), ((500, 375), (96, 72)), ((10, 40), (20, 80)), ((1, 4000), (1, 96))],
)
def test_a_thumbnail_keeps_its_shape_and_small_images_their_pixels(
    mode: str, size: tuple[int, int], shown: tuple[int, int]
) -> None:
    image = Image.new(mode, size)
    with Image.open(BytesIO(thumbnail(image, 96))) as small:
        assert (small.format, small.mode, small.size) == ("JPEG", "RGB", shown)
    assert (image.mode, image.size) == (mode, size)
