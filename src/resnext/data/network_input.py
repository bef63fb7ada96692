"""From a batch of bytes to the network's input, on the device: colours, normalisation, shift, erasing.

The authors jitter colours of numbers that are never clamped (section 4), and pad with zeros after normalisation, with
the mean colour, that is (section 5.3). Bytes could hold neither, so what `augment` draws is carried out here.
"""

from typing import Protocol

import torch
from torch import Tensor

from resnext.imaging.transform import normalise
from resnext.spec.preprocessing import Preprocessing


class Varied(Protocol):
    """Images as bytes, (batch, 3, height, width), and the changes drawn for them, each None where there are none.

    `colour` (batch, 3, 4) maps (red, green, blue, 1) in [0, 1] to RGB; `shift` (batch, 2) holds the left and the top of
    the window to cut from each image; `erased` (batch, 4) the left, top, width and height of what is then made the mean
    colour, empty where nothing is.
    """

    @property
    def pixels(self) -> Tensor: ...  # noqa: D102 - see the class

    @property
    def colour(self) -> Tensor | None: ...  # noqa: D102

    @property
    def shift(self) -> Tensor | None: ...  # noqa: D102

    @property
    def erased(self) -> Tensor | None: ...  # noqa: D102


def network_input(batch: Varied, preprocessing: Preprocessing, dtype: torch.dtype = torch.float32) -> Tensor:
    """Return the input, (batch, 3, height, width), on the device of the pixels, normalised and with all changes made.

    Without changes it is what `normalise` gives, bit for bit. An image's input depends on no other of the batch.
    """
    device = batch.pixels.device
    if batch.colour is None:
        values = normalise(batch.pixels, preprocessing, dtype)
    else:
        colour = batch.colour.to(device, non_blocking=True)
        values = _recoloured(batch.pixels.to(dtype).div_(255), _then_normalised(colour.to(dtype), preprocessing))
    if batch.shift is not None:
        values = _shifted(values, batch.shift.to(device, non_blocking=True))
    return values if batch.erased is None else _erased(values, batch.erased.to(device, non_blocking=True))


def _then_normalised(colour: Tensor, preprocessing: Preprocessing) -> Tensor:
    """Return the maps of colour followed by normalisation, which is affine too and so costs no pass of its own."""
    mean, std = (colour.new_tensor(figures) for figures in (preprocessing.mean, preprocessing.std))
    combined = colour.clone()
    combined[:, :, 3] -= mean
    return combined.div_(std.view(1, 3, 1))


def _recoloured(values: Tensor, colour: Tensor) -> Tensor:
    """Apply to every image its own map. Channel by channel: a matrix product may round by the size of the batch."""
    result = torch.empty_like(values).copy_(colour[:, :, 3, None, None])
    for channel in range(3):
        result.addcmul_(colour[:, :, channel, None, None], values[:, channel : channel + 1])
    return result


def _shifted(values: Tensor, shift: Tensor) -> Tensor:
    """Cut from every image, padded with zeros, a window of its own size, whose left and top may lie outside it."""
    num_images, _, height, width = values.shape
    rows = shift[:, 1, None] + torch.arange(height, device=values.device)
    columns = shift[:, 0, None] + torch.arange(width, device=values.device)
    is_inside = _within(rows, height)[:, :, None] & _within(columns, width)[:, None, :]
    images = torch.arange(num_images, device=values.device)[:, None, None]
    places = (images, rows.clamp(0, height - 1)[:, :, None], columns.clamp(0, width - 1)[:, None, :])
    windows = values.permute(0, 2, 3, 1)[places]
    return windows.masked_fill_(~is_inside[..., None], 0).permute(0, 3, 1, 2)


def _erased(values: Tensor, boxes: Tensor) -> Tensor:
    """Make a rectangle of every image zero, the mean colour, in place."""
    height, width = values.shape[2:]
    left, top, box_width, box_height = boxes[:, :, None].unbind(1)
    rows = torch.arange(height, device=values.device) - top
    columns = torch.arange(width, device=values.device) - left
    is_erased = _within(rows, box_height)[:, :, None] & _within(columns, box_width)[:, None, :]
    return values.masked_fill_(is_erased[:, None], 0)


def _within(places: Tensor, length: int | Tensor) -> Tensor:
    return (places >= 0) & (places < length)
