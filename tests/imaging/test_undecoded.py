from io import BytesIO
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from resnext.imaging import undecoded
from resnext.imaging.decode import ORIENTATION_TAG, ImageError, decode
from resnext.imaging.jpeg import Pixels
from resnext.imaging.undecoded import Box, Undecoded
from resnext.spec.preprocessing import Interpolation

sides = st.integers(1, 200)
orientations = st.integers(1, 8)


def smooth(width: int, height: int) -> Image.Image:
    """Return an image with neither detail nor symmetry, of which a smaller one shows the same."""
    x, y = np.meshgrid(np.linspace(0, 1, width), np.linspace(0, 1, height))
    return Image.fromarray((255 * np.stack([x, y, x * y], axis=2)).astype(np.uint8))


def encoded(image: Image.Image, file_format: str = "JPEG", orientation: int = 1, **options: Any) -> bytes:
    exif = Image.Exif()
    exif[ORIENTATION_TAG] = orientation
    stream = BytesIO()
    image.save(stream, file_format, exif=exif, **options)
    return stream.getvalue()


def difference(first: Image.Image, second: Image.Image) -> float:
    values = [np.asarray(image).astype(float) for image in (first, second)]
    return float(np.abs(values[0] - values[1]).mean())


@given(width=sides, height=sides, orientation=orientations)
def test_the_header_tells_the_size_of_the_upright_image(width: int, height: int, orientation: int) -> None:
    content = encoded(smooth(width, height), orientation=orientation)
    assert Undecoded.of(content).size == decode(content).size


@given(width=sides, height=sides, least_width=sides, least_height=sides, orientation=orientations)
def test_a_jpeg_is_decoded_smaller_as_far_as_the_sides_asked_for_are_left(
    width: int, height: int, least_width: int, least_height: int, orientation: int
) -> None:
    image = Undecoded.of(encoded(smooth(width, height), orientation=orientation))
    whole_width, whole_height = image.size
    small = image.decoded(least_width, least_height)
    assert small.mode == "RGB"
    assert small.width >= min(whole_width, least_width) and small.height >= min(whole_height, least_height)
    scale = max(
        s for s in (1, 2, 4, 8) if s == 1 or (s * least_width <= whole_width and s * least_height <= whole_height)
    )
    assert small.size == (-(-whole_width // scale), -(-whole_height // scale))


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"subsampling": 0}], ids=str)
def test_a_crop_shows_what_the_whole_image_shows_there(orientation: int, options: dict[str, Any]) -> None:
    content = encoded(smooth(397, 302), orientation=orientation, quality=95, **options)
    box = (21.5, 33.0, 221.5, 263.0)
    crop = Undecoded.of(content).cropped(box, 48, "bicubic")
    expected = decode(content).resize((48, 48), Image.Resampling.BICUBIC, box)
    assert (crop.mode, crop.size) == ("RGB", (48, 48))
    assert difference(expected, crop) < 2


@given(
    width=st.integers(2, 300),
    height=st.integers(2, 300),
    side=st.integers(1, 64),
    corners=st.tuples(*[st.floats(0, 1)] * 4),
    orientation=orientations,
)
def test_a_crop_is_never_enlarged_because_it_was_decoded_smaller(
    width: int, height: int, side: int, corners: tuple[float, float, float, float], orientation: int
) -> None:
    image = Undecoded.of(encoded(smooth(width, height), orientation=orientation))
    whole_width, whole_height = image.size
    box_width, box_height = 1 + corners[2] * (whole_width - 1), 1 + corners[3] * (whole_height - 1)
    left, top = corners[0] * (whole_width - box_width), corners[1] * (whole_height - box_height)
    cut: list[tuple[float, float]] = []
    resized = undecoded._resized

    def noted(pixels: Pixels, box: Box, side: int, interpolation: Interpolation) -> Image.Image:
        assert min(box) >= -1e-6 and box[2] <= pixels.shape[1] + 1e-6 and box[3] <= pixels.shape[0] + 1e-6
        cut.append((box[2] - box[0], box[3] - box[1]))
        return resized(pixels, box, side, interpolation)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(undecoded, "_resized", noted)
        image.cropped((left, top, left + box_width, top + box_height), side, "bilinear")
    [kept] = cut
    wanted = (box_width, box_height) if orientation < 5 else (box_height, box_width)
    assert all(ours >= min(side, theirs) - 1e-6 for ours, theirs in zip(kept, wanted, strict=True))


def test_a_box_that_rounding_carried_over_the_border_takes_in_nothing_from_outside() -> None:
    white = Undecoded.of(encoded(Image.new("RGB", (40, 30), "white"), "PNG"))
    crop = white.cropped((20.0, 10.0, 40.0 + 1e-9, 30.0 + 1e-9), 8, "bilinear")
    assert (np.asarray(crop) == 255).all()


@pytest.mark.parametrize(("interpolation", "resampling"), [("bilinear", 2), ("bicubic", 3)])
def test_torch_resamples_as_pillow_does_within_a_level_or_two(interpolation: Interpolation, resampling: int) -> None:
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (150, 200, 3), dtype=np.uint8))
    crop = Undecoded.of(encoded(noise, "PNG")).cropped((20, 30, 180, 130), 64, interpolation)
    expected = noise.crop((20, 30, 180, 130)).resize((64, 64), Image.Resampling(resampling))
    assert np.abs(np.asarray(crop).astype(int) - np.asarray(expected)).max() <= 2
    assert difference(crop, expected) < 0.1


def test_what_cannot_be_decoded_smaller_comes_whole_bit_for_bit() -> None:
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8))
    png = Undecoded.of(encoded(noise, "PNG"))
    assert png.decoded(1, 1).tobytes() == noise.tobytes()

    cmyk = encoded(noise.convert("CMYK"))
    assert Undecoded.of(cmyk).decoded(1, 1).tobytes() == decode(cmyk).tobytes()


def test_grey_comes_smaller_too_as_rgb() -> None:
    content = encoded(smooth(64, 48).convert("L"))
    small = Undecoded.of(content).decoded(32, 24)
    assert (small.mode, small.size) == ("RGB", (32, 24))
    assert difference(small, decode(content).resize((32, 24), Image.Resampling.BOX)) < 2


def test_damage_and_excess_are_named_as_by_decoding(monkeypatch: pytest.MonkeyPatch) -> None:
    content = encoded(smooth(400, 300))
    with pytest.raises(ImageError, match="truncated") as refusal:
        Undecoded.of(content[: len(content) // 2]).decoded(10, 10)
    assert refusal.value.fault == "truncated"
    with pytest.raises(ImageError, match="not an image"):
        Undecoded.of(b"no image at all")

    monkeypatch.setattr("resnext.imaging.decode.MAX_PIXELS", 400 * 300 - 1)
    with pytest.raises(ImageError, match="400x300, more than the 119999 pixels allowed"):
        Undecoded.of(content)
