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


def noise(width: int, height: int) -> Image.Image:
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8))


def protocol(crops: str, image_size: int = 32, resize_size: int = 40, scales: tuple[int, ...] = ()) -> ScoringProtocol:
    preprocessing = Preprocessing(image_size=image_size, resize_size=resize_size)
    return ScoringProtocol(preprocessing=preprocessing, crops=crops, scales=scales)


def pixels(images: tuple[Image.Image, ...]) -> list[NDArray[np.uint8]]:
    return [np.asarray(image) for image in images]


def contents(images: tuple[Image.Image, ...]) -> list[bytes]:
    return sorted(image.tobytes() for image in images)


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
    assert contents(views(image, ScoringProtocol(preprocessing=preprocessing, crops="ten"))) == contents(theirs)


@given(width=sides, height=sides, border=st.integers(0, 9))
def test_a_mirrored_image_has_the_same_ten_crops(width: int, height: int, border: int) -> None:
    image, ten = noise(width, height), protocol("ten", resize_size=32 + border)
    assert contents(views(ImageOps.mirror(image), ten)) == contents(views(image, ten))


@given(width=sides, height=sides, scales=st.lists(st.integers(32, 90), min_size=1, max_size=3))
def test_dense_shows_the_whole_image_at_every_scale_in_order(width: int, height: int, scales: list[int]) -> None:
    image = noise(width, height)
    shown = views(image, protocol("dense", scales=tuple(scales)))
    assert [min(view.size) for view in shown] == scales
    for view, scale in zip(shown, scales, strict=True):
        resized = transforms.Resize(scale, transforms.InterpolationMode.BICUBIC)(image)
        assert np.array_equal(np.asarray(view), np.asarray(resized))


@given(side=sides, scale=st.integers(32, 90))
def test_one_scale_of_a_square_image_is_the_single_crop_of_that_size(side: int, scale: int) -> None:
    image = noise(side, side)
    dense = views(image, protocol("dense", scales=(scale,)))
    single = views(image, protocol("single", scale, scale))
    assert contents(dense) == contents(single)


@pytest.mark.parametrize("size", [(1, 5_000), (5_000, 1), (5_000, 2)])
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
