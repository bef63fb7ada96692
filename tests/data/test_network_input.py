from dataclasses import dataclass

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from resnext.data.augment import Variant, augmenter, random_pixels_crop, random_shift
from resnext.data.colour import EIGENVALUES, EIGENVECTORS
from resnext.data.network_input import network_input
from resnext.imaging.transform import normalise, stack
from resnext.spec.preprocessing import Preprocessing
from resnext.spec.recipe import read_recipe

PREPROCESSING = Preprocessing(image_size=8, resize_size=8, mean=(0.5, 0.4, 0.3), std=(0.25, 0.2, 0.3))
MEAN, STD = np.array(PREPROCESSING.mean), np.array(PREPROCESSING.std)
IDENTITY = torch.eye(3, 4)

dtypes = st.sampled_from([torch.float32, torch.float64])
sizes = st.integers(1, 9)


@dataclass(frozen=True)
class Drawn:
    pixels: Tensor
    colour: Tensor | None = None
    shift: Tensor | None = None
    erased: Tensor | None = None


def images(num_images: int, height: int, width: int, seed: int = 0) -> Tensor:
    """Return noise as the loader lays it out, channels last."""
    rng = np.random.default_rng(seed)
    return stack([Image.fromarray(rng.integers(0, 256, (height, width, 3), np.uint8)) for _ in range(num_images)])


def maps(num_images: int, seed: int = 0) -> Tensor:
    return IDENTITY + 0.3 * torch.randn(num_images, 3, 4, generator=torch.Generator().manual_seed(seed))


def batch_of(variant: Variant) -> Drawn:
    return Drawn(
        stack([variant.image]),
        None if variant.colour is None else torch.from_numpy(variant.colour)[None],
        None if variant.shift is None else torch.tensor([variant.shift]),
    )


@given(num_images=st.integers(0, 5), height=sizes, width=sizes, dtype=dtypes)
def test_without_changes_the_input_is_normalised_bit_for_bit(
    num_images: int, height: int, width: int, dtype: torch.dtype
) -> None:
    pixels = torch.randint(256, (num_images, 3, height, width), dtype=torch.uint8)
    actual, expected = network_input(Drawn(pixels), PREPROCESSING, dtype), normalise(pixels, PREPROCESSING, dtype)
    assert (actual.dtype, actual.stride()) == (dtype, expected.stride())
    assert torch.equal(actual, expected)


@given(height=sizes, width=sizes, seed=st.integers(0, 99), dtype=dtypes)
def test_every_image_has_its_own_map_of_colours_before_it_is_normalised(
    height: int, width: int, seed: int, dtype: torch.dtype
) -> None:
    pixels, colour = images(4, height, width, seed), maps(4, seed)
    actual = network_input(Drawn(pixels, colour), PREPROCESSING, dtype)
    assert actual.dtype == dtype
    for image, affine, result in zip(pixels.numpy() / 255, colour.double().numpy(), actual.double(), strict=True):
        values = np.einsum("ij,jhw->ihw", affine[:, :3], image) + affine[:, 3, None, None]
        expected = (values - MEAN[:, None, None]) / STD[:, None, None]
        tolerance = 1e-5 if dtype == torch.float32 else 1e-12
        assert np.abs(result.numpy() - expected).max() < tolerance


def test_the_map_that_changes_nothing_gives_what_normalising_gives() -> None:
    pixels = images(3, 8, 8)
    actual = network_input(Drawn(pixels, IDENTITY.expand(3, 3, 4)), PREPROCESSING, torch.float64)
    torch.testing.assert_close(actual, normalise(pixels, PREPROCESSING, torch.float64), rtol=1e-13, atol=1e-13)


def test_colours_beyond_black_and_white_survive() -> None:
    pixels = torch.tensor([0, 255], dtype=torch.uint8).view(2, 1, 1, 1).expand(2, 3, 2, 2)
    colour = torch.stack([IDENTITY - 0.25 * torch.eye(4)[3], 1.5 * IDENTITY])
    values = network_input(Drawn(pixels, colour), PREPROCESSING)
    unnormalised = values[:, :, 0, 0].double().numpy() * STD + MEAN
    assert unnormalised == pytest.approx(np.array([[-0.25] * 3, [1.5] * 3]), abs=1e-6)


def slowly_shifted(values: Tensor, left: int, top: int) -> Tensor:
    """Pad an image (3, height, width) with zeros all around, by more than the shift, and cut at its place."""
    margin = max(abs(left), abs(top))
    padded = torch.nn.functional.pad(values, (margin,) * 4)
    height, width = values.shape[1:]
    return padded[:, margin + top : margin + top + height, margin + left : margin + left + width]


@given(
    height=sizes,
    width=sizes,
    shifts=st.lists(st.tuples(st.integers(-12, 12), st.integers(-12, 12)), min_size=1, max_size=5),
    is_coloured=st.booleans(),
)
def test_every_image_is_padded_with_zeros_after_normalisation_and_cut_at_its_place(
    height: int, width: int, shifts: list[tuple[int, int]], is_coloured: bool
) -> None:
    pixels = images(len(shifts), height, width)
    colour = maps(len(shifts)) if is_coloured else None
    unshifted = network_input(Drawn(pixels, colour), PREPROCESSING)
    actual = network_input(Drawn(pixels, colour, torch.tensor(shifts)), PREPROCESSING)
    for values, (left, top), result in zip(unshifted, shifts, actual, strict=True):
        assert torch.equal(result, slowly_shifted(values, left, top))


def test_what_a_shift_brings_in_is_the_mean_colour_not_black() -> None:
    pixels = torch.zeros(1, 3, 4, 4, dtype=torch.uint8)
    values = network_input(Drawn(pixels, shift=torch.tensor([[-1, 0]])), PREPROCESSING)
    assert (values[..., 0] == 0).all()
    assert (values[..., 1:] < 0).all()


@given(seed=st.integers(0, 999), num_images=st.integers(2, 6), height=sizes, width=sizes)
def test_an_images_input_depends_on_no_other_of_the_batch(seed: int, num_images: int, height: int, width: int) -> None:
    pixels, colour = images(num_images, height, width, seed), maps(num_images, seed)
    shift = torch.from_numpy(np.random.default_rng(seed).integers(-4, 5, (num_images, 2)))
    together = network_input(Drawn(pixels, colour, shift), PREPROCESSING)
    for at in range(num_images):
        alone = Drawn(pixels[at : at + 1], colour[at : at + 1], shift[at : at + 1])
        assert torch.equal(network_input(alone, PREPROCESSING)[0], together[at])


def test_the_batch_is_left_as_it_was_and_the_layout_kept() -> None:
    batch = Drawn(images(2, 6, 5), maps(2), torch.tensor([[1, -2], [0, 3]]))
    assert batch.colour is not None and batch.shift is not None
    before = [tensor.clone() for tensor in (batch.pixels, batch.colour, batch.shift)]
    values = network_input(batch, PREPROCESSING)
    assert all(torch.equal(*pair) for pair in zip(before, (batch.pixels, batch.colour, batch.shift), strict=True))
    assert values.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("seed", range(6))
def test_cifar_is_normalised_then_flipped_then_padded_with_zeros_then_cropped(seed: int) -> None:
    mean, std = (125.3, 123.0, 113.9), (63.0, 62.1, 66.7)
    colours = {"mean": [value / 255 for value in mean], "std": [value / 255 for value in std]}
    recipe = read_recipe("paper-cifar", {"image": colours})
    image = Image.fromarray(np.random.default_rng(9).integers(0, 256, (32, 32, 3), dtype=np.uint8))
    variant = augmenter(recipe.augmentation, recipe.preprocessing())(image, np.random.default_rng(seed))

    rng = np.random.default_rng(seed)
    values = (np.asarray(image).astype(float) - mean) / std
    values = values[:, ::-1] if rng.random() < 0.5 else values
    padded = np.zeros((40, 40, 3))
    padded[4:36, 4:36] = values
    left, top = random_shift(4, rng)
    expected = padded[4 + top : 36 + top, 4 + left : 36 + left]

    actual = network_input(batch_of(variant), recipe.preprocessing(), torch.float64)[0].permute(1, 2, 0).numpy()
    assert np.abs(actual - expected).max() < 1e-12
    assert ((expected == 0).all(axis=-1) == (actual == 0).all(axis=-1)).all()


def grey(values: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray((values @ [0.299, 0.587, 0.114])[..., None])


@pytest.mark.parametrize("seed", range(6))
def test_imagenet_is_cropped_jittered_lit_normalised_and_flipped(seed: int) -> None:
    recipe = read_recipe("paper-imagenet", {"image": {"size": 24}})
    preprocessing = recipe.preprocessing()
    image = Image.fromarray(np.random.default_rng(9).integers(0, 256, (50, 60, 3), dtype=np.uint8))
    variant = augmenter(recipe.augmentation, preprocessing)(image, np.random.default_rng(seed))

    rng = np.random.default_rng(seed)
    values = np.asarray(random_pixels_crop(image, 0.08, preprocessing, rng)) / 255
    for change in rng.permutation(3):
        scale = 1 + rng.uniform(-0.4, 0.4)
        other = [np.zeros(1), grey(values).mean(), grey(values)][change]
        values = scale * values + (1 - scale) * other
    values = values + np.array(EIGENVECTORS) @ (rng.normal(0, 0.1, 3) * EIGENVALUES)
    values = (values - preprocessing.mean) / preprocessing.std
    expected = values[:, ::-1] if rng.random() < 0.5 else values

    actual = network_input(batch_of(variant), preprocessing, torch.float64)[0].permute(1, 2, 0).numpy()
    assert np.abs(actual - expected).max() < 1e-5


@given(seed=st.integers(0, 999), size=st.integers(2, 9), is_shifted=st.booleans())
def test_a_rectangle_is_made_the_mean_colour_and_the_rest_is_left_bit_for_bit(
    seed: int, size: int, is_shifted: bool
) -> None:
    rng = np.random.default_rng(seed)
    shift = torch.from_numpy(rng.integers(-3, 4, (4, 2))) if is_shifted else None
    boxes = [(*rng.integers(0, size, 2), *rng.integers(0, size + 1, 2)) for _ in range(3)] + [(0, 0, 0, 0)]
    pixels = images(4, size, size, seed)
    whole = network_input(Drawn(pixels, shift=shift), PREPROCESSING)
    actual = network_input(Drawn(pixels, shift=shift, erased=torch.tensor(boxes)), PREPROCESSING)
    for values, (left, top, width, height) in zip(whole, boxes, strict=True):
        values[:, top : top + height, left : left + width] = 0
    assert torch.equal(actual, whole)
    assert actual.is_contiguous(memory_format=torch.channels_last)
