"""The packed forms of a grouped convolution: its groups merged p at a time, each on the diagonal of a larger one.

Of C groups C / p remain; where p = C, the convolution is dense. Off the diagonal the weights are zero, so that the
same products are added, with zeros between them: p times the arithmetic in fewer and wider groups, which hardware may
do sooner. Section 3.3 of the paper gives the equivalent forms of a block; these are forms of its middle layer.
"""

from copy import deepcopy

import torch
from torch import Tensor, nn


def pack(conv: nn.Conv2d, merged_groups: int) -> nn.Conv2d:
    """Return a new convolution that computes the same, each of its groups `merged_groups` of the given one's.

    It owns copies of the weights and the bias, at the same place, type, mode and memory format.
    Raises `ValueError` where `merged_groups` does not divide the number of groups, or the convolution is of a subclass,
    whose weights may not mean what they do in `nn.Conv2d`.
    """
    _check_kind(conv)
    if merged_groups < 1 or conv.groups % merged_groups:
        raise ValueError(f"merged_groups = {merged_groups}: give a divisor of {conv.groups}, the number of groups")
    return _with_weight(conv, pack_weight(conv.weight, conv.groups, merged_groups), conv.groups // merged_groups)


def unpack(conv: nn.Conv2d, merged_groups: int) -> nn.Conv2d:
    """Return a new convolution of `merged_groups` times as many groups that computes the same: undo `pack`.

    Raises `ValueError` where weights off the diagonal are not zero, the channels cannot be divided into so many
    groups, or the convolution is of a subclass.
    """
    _check_kind(conv)
    groups = conv.groups * merged_groups
    if merged_groups < 1 or conv.in_channels % groups or conv.out_channels % groups:
        channels = f"{conv.in_channels} -> {conv.out_channels} channels in {conv.groups} groups"
        raise ValueError(f"merged_groups = {merged_groups}: {channels} cannot be parted so; give a divisor of both")
    weight = unpack_weight(conv.weight, conv.groups, merged_groups)
    if num_lost := int(conv.weight.count_nonzero() - weight.count_nonzero()):
        raise ValueError(
            f"merged_groups = {merged_groups}: {num_lost:,} weights between the groups are not zero and would be lost;"
            " only what was packed can be unpacked"
        )
    return _with_weight(conv, weight, groups)


def pack_weight(weight: Tensor, groups: int, merged_groups: int) -> Tensor:
    """Pack weights (out, in / groups, height, width) of `groups` groups to (out, merged * in / groups, height, width).

    Works on anything shaped like the weights, such as momentum, and carries gradients.
    """
    blocks = weight.reshape(groups // merged_groups, merged_groups, -1, *weight.shape[1:])
    return torch.diag_embed(blocks.movedim(1, -1), dim1=1, dim2=3).flatten(3, 4).flatten(0, 2)


def unpack_weight(weight: Tensor, groups: int, merged_groups: int) -> Tensor:
    """Take from packed weights (out, in / groups, height, width) the diagonal: (out, in / groups / merged, ...).

    `groups` counts those of the packed weights. What lies off the diagonal is left out: of a gradient it is the part
    that belongs to no weight of the grouped form.
    """
    width = weight.shape[1] // merged_groups
    blocks = weight.reshape(groups, merged_groups, -1, merged_groups, width, *weight.shape[2:])
    return blocks.diagonal(dim1=1, dim2=3).movedim(-1, 1).flatten(0, 2)


def _check_kind(conv: nn.Conv2d) -> None:
    if type(conv) is not nn.Conv2d:
        raise ValueError(f"a {type(conv).__name__} cannot be packed or unpacked; give a plain nn.Conv2d")


def _with_weight(conv: nn.Conv2d, weight: Tensor, groups: int) -> nn.Conv2d:
    """Return a copy of a convolution with other weights in other groups."""
    layout = torch.contiguous_format if conv.weight.is_contiguous() else torch.channels_last
    copy = deepcopy(conv)
    copy.groups = groups
    copy.weight = nn.Parameter(weight.detach().clone(memory_format=layout), requires_grad=conv.weight.requires_grad)
    return copy
