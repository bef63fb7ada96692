"""From an RGB image to the numbers that a network reads; the one place where `Preprocessing` is carried out."""

from collections.abc import Sequence

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from resnext.spec.preprocessing import Interpolation, Preprocessing

RESAMPLING = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}

_MAX_ASPECT = 16


def central_crop(image: Image.Image, preprocessing: Preprocessing) -> Image.Image:
    """Resize the shorter side to `resize_size` and crop the central square of `image_size` pixels.

    Rounds as torchvision does, so that measured errors compare.
    """
    image = resize_shorter_side(image, preprocessing.resize_size, preprocessing.interpolation)
    size = preprocessing.image_size
    left, top = round((image.width - size) / 2.0), round((image.height - size) / 2.0)
    return image.crop((left, top, left + size, top + size))


def stack(images: Sequence[Image.Image]) -> Tensor:
    """Stack RGB images of one size as bytes, (batch, 3, height, width), laid out channels last."""
    return torch.from_numpy(np.stack([np.asarray(image) for image in images])).permute(0, 3, 1, 2)


def normalise(pixels: Tensor, preprocessing: Preprocessing, dtype: torch.dtype = torch.float32) -> Tensor:
    """Turn bytes (batch, 3, height, width) into (value / 255 - mean) / std on the device they are on."""
    mean, std = (
        _row_of(torch.tensor(colour, dtype=dtype, device=pixels.device), pixels)
        for colour in (preprocessing.mean, preprocessing.std)
    )
    return pixels.to(dtype).div_(255).sub_(mean).div_(std)


def _row_of(colour: Tensor, pixels: Tensor) -> Tensor:
    """Repeat a colour along a row, laid out as the pixels are, so that torch need not start anew at every pixel."""
    is_last = pixels.is_contiguous(memory_format=torch.channels_last)
    row = colour.view(1, 3, 1, 1).expand(1, 3, 1, pixels.shape[3])
    return row.contiguous(memory_format=torch.channels_last if is_last else torch.contiguous_format)


def resize_shorter_side(image: Image.Image, size: int, interpolation: Interpolation) -> Image.Image:
    """Resize an image so that its shorter side has `size` pixels.

    One more than 16 times as long as wide is cut to that first, which bounds the memory it can ask for.
    """
    image = _bounded_aspect(image)
    shorter, longer = min(image.size), max(image.size)
    if shorter == size:
        return image
    long_side = int(size * longer / shorter)
    target = (size, long_side) if image.width <= image.height else (long_side, size)
    return image.resize(target, RESAMPLING[interpolation])


def _bounded_aspect(image: Image.Image) -> Image.Image:
    longest = _MAX_ASPECT * min(image.size)
    if max(image.size) <= longest:
        return image
    width, height = min(image.width, longest), min(image.height, longest)
    left, top = (image.width - width) // 2, (image.height - height) // 2
    return image.crop((left, top, left + width, top + height))
