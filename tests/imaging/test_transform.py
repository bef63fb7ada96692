import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from torchvision import transforms

from resnext.imaging.transform import central_crop, normalise, stack
from resnext.spec.preprocessing import Interpolation, Preprocessing

sides = st.integers(9, 130)


def noise(width: int, height: int, seed: int = 0) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8))


def as_torchvision(preprocessing: Preprocessing) -> transforms.Compose:
    interpolation = transforms.InterpolationMode(preprocessing.interpolation)
    return transforms.Compose(
        [
            transforms.Resize(preprocessing.resize_size, interpolation),
            transforms.CenterCrop(preprocessing.image_size),
        ]
    )


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
@given(width=sides, height=sides, image_size=st.integers(1, 48), border=st.integers(0, 16))
def test_the_crop_is_torchvisions_bit_for_bit(
    interpolation: Interpolation, width: int, height: int, image_size: int, border: int
) -> None:
    preprocessing = Preprocessing(image_size=image_size, resize_size=image_size + border, interpolation=interpolation)
    image = noise(width, height)
    ours, theirs = central_crop(image, preprocessing), as_torchvision(preprocessing)(image)
    assert ours.size == (image_size, image_size)
    assert np.array_equal(np.asarray(ours), np.asarray(theirs))


def test_an_image_of_the_right_size_is_only_cropped() -> None:
    image = noise(40, 32)
    crop = central_crop(image, Preprocessing(image_size=32, resize_size=32))
    assert np.array_equal(np.asarray(crop), np.asarray(image)[:, 4:36])


@pytest.mark.parametrize(("width", "height"), [(1, 5_000), (5_000, 1), (2, 5_000)])
def test_a_sliver_of_an_image_is_bounded_before_it_is_enlarged(
    width: int, height: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    enlarged: list[tuple[int, int]] = []
    resize = Image.Image.resize

    def recorded(image: Image.Image, size: tuple[int, int], resample: Image.Resampling) -> Image.Image:
        enlarged.append(size)
        return resize(image, size, resample)

    monkeypatch.setattr(Image.Image, "resize", recorded)
    crop = central_crop(noise(width, height), Preprocessing(image_size=32, resize_size=40))
    assert crop.size == (32, 32)
    assert [sorted(size) for size in enlarged] == [[40, 640]]


def test_the_middle_of_a_sliver_is_kept() -> None:
    pixels = np.zeros((1, 5_000, 3), dtype=np.uint8)
    pixels[:, 2_400:2_600] = 200
    crop = central_crop(Image.fromarray(pixels), Preprocessing(image_size=8, resize_size=8))
    assert (np.asarray(crop) == 200).all()


def test_an_image_of_exactly_the_widest_aspect_is_torchvisions() -> None:
    preprocessing = Preprocessing(image_size=16, resize_size=20)
    image = noise(16 * 9, 9)
    assert np.array_equal(
        np.asarray(central_crop(image, preprocessing)), np.asarray(as_torchvision(preprocessing)(image))
    )


def test_a_stack_holds_the_bytes_of_each_image_and_lies_channels_last() -> None:
    images = [noise(7, 5, seed) for seed in range(3)]
    pixels = stack(images)
    assert pixels.dtype == torch.uint8
    assert pixels.shape == (3, 3, 5, 7)
    assert pixels.is_contiguous(memory_format=torch.channels_last)
    for image, planes in zip(images, pixels, strict=True):
        assert np.array_equal(planes.permute(1, 2, 0).numpy(), np.asarray(image))


@given(
    mean=st.tuples(*[st.floats(0, 1, width=32)] * 3),
    std=st.tuples(*[st.floats(0.0625, 1, width=32)] * 3),
    seed=st.integers(0, 100),
)
def test_normalised_pixels_are_torchvisions_bit_for_bit(
    mean: tuple[float, float, float], std: tuple[float, float, float], seed: int
) -> None:
    preprocessing = Preprocessing(image_size=6, resize_size=6, mean=mean, std=std)
    image = noise(6, 6, seed)
    theirs = transforms.Normalize(mean, std)(transforms.ToTensor()(image))
    assert torch.equal(normalise(stack([image]), preprocessing)[0], theirs)


@pytest.mark.parametrize("layout", [torch.channels_last, torch.contiguous_format])
def test_pixels_are_normalised_alike_and_stay_in_place_however_they_are_laid_out(layout: torch.memory_format) -> None:
    preprocessing = Preprocessing(image_size=5, resize_size=5)
    pixels = stack([noise(7, 5, seed) for seed in range(3)]).contiguous(memory_format=layout)
    result = normalise(pixels, preprocessing)
    assert result.is_contiguous(memory_format=layout)
    mean, std = (torch.tensor(colour).view(3, 1, 1) for colour in (preprocessing.mean, preprocessing.std))
    assert torch.equal(result, (pixels / 255 - mean) / std)


def test_normalising_leaves_the_bytes_as_they_were() -> None:
    pixels = stack([noise(4, 4)])
    before = pixels.clone()
    normalise(pixels, Preprocessing(image_size=4, resize_size=4))
    assert torch.equal(pixels, before)


def test_normalising_in_double_precision_follows_the_formula() -> None:
    preprocessing = Preprocessing(image_size=1, resize_size=1, mean=(0.5, 0.25, 0.0), std=(0.5, 0.25, 1.0))
    pixels = torch.tensor([255, 51, 102], dtype=torch.uint8).view(1, 3, 1, 1)
    result = normalise(pixels, preprocessing, torch.float64)
    expected = torch.tensor([1.0, (0.2 - 0.25) / 0.25, 0.4], dtype=torch.float64)
    torch.testing.assert_close(result.flatten(), expected, rtol=1e-15, atol=1e-15)
