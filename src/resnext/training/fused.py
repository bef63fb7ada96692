"""The training step with less waste: a network computed by operators that keep less for the backward pass.

The network itself stays plain; it is scored and saved under its own names. What is substituted is how its layers are
called while they learn.
"""

from collections.abc import Callable
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from resnext.kernels.norm import Norm
from resnext.kernels.norm_conv import conv_norm, norm_relu_conv, norm_relu_conv_norm, norm_relu_pool
from resnext.model.blocks import BasicBlock, Bottleneck, ConvNorm
from resnext.model.ghost_norm import GhostNorm
from resnext.model.network import Network
from resnext.training.machine import Machine

# A value of the first stage of ResNeXt-50 costs as many to make anew, one of the next stages 2, 4 and 8 times as many.
_CHEAP_MACS = 128


class Fused(nn.Module):
    """Computes what `network` does, up to rounding, and keeps less for the backward pass.

    What leaves a norm and its ReLU is not kept where a convolution or a pool reads it, but made anew. What enters the
    norms at the end of a block is convolved anew where a value takes at most 128 multiply-accumulates, or, where it
    `saves_memory`, everywhere. Blocks of the forms (a) and (b), and blocks with a norm in evaluation mode, are computed
    as they are.
    """

    def __init__(self, network: Network, *, saves_memory: bool = False) -> None:
        super().__init__()
        self.network = network
        self.saves_memory = saves_memory

    def forward(self, images: Tensor) -> Tensor:
        """Return the logits, (batch, classes), of normalised images (batch, channels, height, width)."""
        x = self._stem(images)
        for stage in self.network.stages:
            for block in cast(nn.Sequential, stage):
                x = self._block(block, x) if _can_fuse(block) else block(x)
        return cast(Tensor, self.network.head(x.mean(dim=(2, 3))))

    def _stem(self, images: Tensor) -> Tensor:
        stem, pool = self.network.stem, self.network.pool
        if isinstance(pool, nn.MaxPool2d) and stem.norm.training:
            return _by_group(lambda x, norm: norm_relu_pool(x, norm, pool), stem.conv(images), stem.norm)
        return cast(Tensor, pool(F.relu(stem(images), inplace=True)))

    def _block(self, block: nn.Module, x: Tensor) -> Tensor:
        assert isinstance(block, Bottleneck | BasicBlock), "other blocks are computed as they are"
        transform, expand, shortcut = block.transform, block.expand, block.shortcut
        if isinstance(block, Bottleneck):
            reduced, norm = block.reduce.conv(x), block.reduce.norm
            y = _by_group(lambda part, norm: norm_relu_conv(part, norm, transform.conv), reduced, norm)
        else:
            y = transform.conv(x)
        if self._convolves_anew(expand.conv):
            norms = transform.norm, expand.norm
            y = _by_group(lambda part, *norms: norm_relu_conv_norm(part, norms[0], expand.conv, norms[1]), y, *norms)
        else:
            y = _by_group(lambda part, norm: norm_relu_conv(part, norm, expand.conv), y, transform.norm)
            y = expand.norm(y)
        if shortcut is not None:
            y.add_(self._projected(shortcut, x) if isinstance(shortcut, ConvNorm) else shortcut(x))
        return y.relu_()

    def _projected(self, shortcut: ConvNorm, x: Tensor) -> Tensor:
        if not self._convolves_anew(shortcut.conv):
            return cast(Tensor, shortcut(x))
        return _by_group(lambda part, norm: conv_norm(part, shortcut.conv, norm), x, shortcut.norm)

    def _convolves_anew(self, conv: nn.Conv2d) -> bool:
        return self.saves_memory or conv.weight[0].numel() <= _CHEAP_MACS


def computed(network: Network, machine: Machine) -> nn.Module:
    """Return a module that computes what the network does in a machine's way: as it is, compiled or fused."""
    if machine.compiles:
        return cast(nn.Module, torch.compile(network))
    return Fused(network, saves_memory=machine.saves_memory) if machine.is_fused else network


def _can_fuse(block: nn.Module) -> bool:
    is_known = isinstance(block, Bottleneck | BasicBlock)
    return is_known and all(part.training for part in block.modules() if isinstance(part, nn.BatchNorm2d))


def _by_group(compute: Callable[..., Tensor], x: Tensor, *norms: nn.BatchNorm2d) -> Tensor:
    """Compute with norms in training, group by group of images where the statistics are those of groups."""
    ghosts = [norm for norm in norms if isinstance(norm, GhostNorm)]
    if not ghosts:
        return compute(x, *(_counted(norm) for norm in norms))
    parts = []
    for group in ghosts[0].groups(x):
        statistics = [norm.no_statistics() for norm in ghosts]
        parts.append(compute(group, *map(_norm, ghosts, statistics, [1.0] * len(ghosts))))
        for norm, taken in zip(ghosts, statistics, strict=True):
            norm.see(taken)
    return parts[0] if len(parts) == 1 else torch.cat(parts)


def _counted(norm: nn.BatchNorm2d) -> Norm:
    norm.get_buffer("num_batches_tracked").add_(1)
    running = norm.get_buffer("running_mean"), norm.get_buffer("running_var")
    return _norm(norm, running, cast(float, norm.momentum))


def _norm(norm: nn.BatchNorm2d, running: tuple[Tensor, Tensor], momentum: float) -> Norm:
    mean, var = running
    return Norm(weight=norm.weight, bias=norm.bias, running_mean=mean, running_var=var, momentum=momentum, eps=norm.eps)
