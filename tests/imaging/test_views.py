from collections.abc import Iterable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image, ImageOps
from torchvision import transforms

from resnext.imaging.transform import central_crop
from resnext.imaging.views import views
from resnext.spec.preprocessing import Interpolation, Preprocessing
from resnext.spec.protocol import ScoringProtocol

sides = st.integers(9, 130)
# From one pixel to sixteen times as long as wide; what is longer is cut first.
usual_sizes = st.tuples(st.integers(1, 200), st.integers(1, 200)).filter(lambda size: max(size) <= 16 * min(size))


def noise(width: int, height: int) -> Image.Image:
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8))


def protocol(crops: str, image_size: int = 32, resize_size: int = 40, scales: tuple[int, ...] = ()) -> ScoringProtocol:
    preprocessing = Preprocessing(image_size=image_size, resize_size=resize_size)
    return ScoringProtocol(preprocessing=preprocessing, crops=crops, scales=scales)


def pixels(images: tuple[Image.Image, ...]) -> list[NDArray[np.uint8]]:
    return [np.asarray(image) for image in images]


def resized_size(width: int, height: int, scale: int) -> tuple[int, int]:
    return (scale, scale * height // width) if width <= height else (scale * width // height, scale)


def contents(images: Iterable[Image.Image]) -> list[bytes]:
    return [image.tobytes() for image in images]


@given(width=sides, height=sides)
def test_the_single_view_is_what_a_classifier_sees(width: int, height: int) -> None:
    image, single = noise(width, height), protocol("single")
    [view] = views(image, single)
    assert np.array_equal(np.asarray(view), np.asarray(central_crop(image, single.preprocessing)))


@pytest.mark.parametrize(("width", "height", "left", "top"), [(52, 40, 10, 4), (40, 45, 4, 6), (43, 40, 6, 4)])
def test_ten_crops_are_the_centre_and_corners_and_those_of_the_mirror_image(
    width: int, height: int, left: int, top: int
) -> None:
    image = noise(width, height)
    by_hand = []
    for whole in (np.asarray(image), np.asarray(image)[:, ::-1]):
        by_hand.append(whole[top : top + 32, left : left + 32])
        by_hand.extend((whole[:32, :32], whole[:32, -32:], whole[-32:, :32], whole[-32:, -32:]))
    for view, expected in zip(pixels(views(image, protocol("ten"))), by_hand, strict=True):
        assert np.array_equal(view, expected)


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
@given(width=sides, height=sides, image_size=st.integers(1, 48), border=st.integers(0, 16))
def test_ten_crops_are_torchvisions_bit_for_bit(
    interpolation: Interpolation, width: int, height: int, image_size: int, border: int
) -> None:
    size = image_size + border
    preprocessing = Preprocessing(image_size=image_size, resize_size=size, interpolation=interpolation)
    resize = transforms.Resize(size, transforms.InterpolationMode(interpolation))
    image = noise(width, height)
    theirs = transforms.TenCrop(image_size)(resize(image))
    ours = views(image, ScoringProtocol(preprocessing=preprocessing, crops="ten"))
    # Theirs has each centre after its corners.
    assert contents(ours) == contents([theirs[place] for place in (4, 0, 1, 2, 3, 9, 5, 6, 7, 8)])


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
@given(size=usual_sizes, image_size=st.integers(1, 48), border=st.integers(0, 16))
def test_ten_crops_of_the_mirror_image_are_the_same_with_the_halves_exchanged(
    interpolation: Interpolation, size: tuple[int, int], image_size: int, border: int
) -> None:
    preprocessing = Preprocessing(image_size=image_size, resize_size=image_size + border, interpolation=interpolation)
    ten = ScoringProtocol(preprocessing=preprocessing, crops="ten")
    plain, mirrored = (contents(views(image, ten)) for image in (noise(*size), ImageOps.mirror(noise(*size))))
    assert mirrored == plain[5:] + plain[:5]


@given(size=usual_sizes)
def test_an_image_of_any_usual_size_has_its_views(size: tuple[int, int]) -> None:
    image = noise(*size)
    assert [view.size for view in views(image, protocol("single"))] == [(32, 32)]
    assert [view.size for view in views(image, protocol("ten"))] == [(32, 32)] * 10
    whole = views(image, protocol("dense", scales=(32, 48)))
    assert [view.size for view in whole] == [resized_size(*size, 32), resized_size(*size, 48)]


@given(width=sides, height=sides, scales=st.lists(st.integers(32, 90), min_size=1, max_size=3))
def test_dense_shows_the_whole_image_at_every_scale_in_order(width: int, height: int, scales: list[int]) -> None:
    image = noise(width, height)
    shown = views(image, protocol("dense", scales=tuple(scales)))
    assert [min(view.size) for view in shown] == scales
    for view, scale in zip(shown, scales, strict=True):
        resized = transforms.Resize(scale, transforms.InterpolationMode.BICUBIC)(image)
        assert np.array_equal(np.asarray(view), np.asarray(resized))


@pytest.mark.parametrize("size", [(120, 40), (40, 120), (64, 4)])
def test_dense_shows_both_ends_of_a_long_image_and_a_crop_shows_neither(size: tuple[int, int]) -> None:
    pixels = np.full((size[1], size[0], 3), 128, dtype=np.uint8)
    pixels[:4, :4], pixels[-4:, -4:] = (255, 0, 0), (0, 0, 255)
    image = Image.fromarray(pixels)
    for view in map(np.asarray, views(image, protocol("dense", scales=(32, 80)))):
        assert (view[0, 0].tolist(), view[-1, -1].tolist()) == ([255, 0, 0], [0, 0, 255])
    [crop] = views(image, protocol("single"))
    assert np.unique(np.asarray(crop)).tolist() == [128]


@given(side=sides, scale=st.integers(32, 90))
def test_one_scale_of_a_square_image_is_the_single_crop_of_that_size(side: int, scale: int) -> None:
    image = noise(side, side)
    dense = views(image, protocol("dense", scales=(scale,)))
    single = views(image, protocol("single", scale, scale))
    assert contents(dense) == contents(single)


@pytest.mark.parametrize("size", [(1, 5_000), (5_000, 2), (10_000, 3)])
def test_a_sliver_of_an_image_is_bounded_before_it_is_enlarged(
    size: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    enlarged: list[int] = []
    resize = Image.Image.resize

    def recorded(image: Image.Image, size: tuple[int, int], resample: Image.Resampling) -> Image.Image:
        enlarged.append(max(size))
        return resize(image, size, resample)

    monkeypatch.setattr(Image.Image, "resize", recorded)
    assert [view.size for view in views(noise(*size), protocol("ten"))] == [(32, 32)] * 10
    assert [min(view.size) for view in views(noise(*size), protocol("dense", scales=(48, 64)))] == [48, 64]
    assert enlarged == [16 * 40, 16 * 48, 16 * 64]
