"""Batch norm, ReLU and what reads them as one autograd function, which keeps the norm's input alone.

Plain autograd keeps two maps of one size: the input of a batch norm and, for the convolution that follows, what leaves
its ReLU. The second is a scale, a shift and a threshold away from the first, so that the backward pass makes it anew.
A norm that follows the convolution can be taken in too; its input is then convolved anew. Plain torch operations, for
any device, precision and layout. The chain of plain modules computes the same, and is what the tests compare with.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from resnext.kernels.norm import Norm

_Gradients = Sequence[Tensor | None]

_NOTHING: _Gradients = (None, None)
_OPS = torch.ops.aten


def norm_relu_conv(x: Tensor, norm: Norm, conv: nn.Conv2d) -> Tensor:
    """Convolve the normalised and rectified map; keep for the backward pass the map alone.

    Takes a map (batch, channels, height, width). Raises `ValueError` where the convolution has a bias or pads with
    anything but so many zeros.
    """
    return _apply(_Chain(norm, conv, None), x)


def norm_relu_conv_norm(x: Tensor, norm: Norm, conv: nn.Conv2d, last: Norm) -> Tensor:
    """Normalise what `norm_relu_conv` returns; keep the same map alone, and convolve once more in the backward pass."""
    return _apply(_Chain(norm, conv, last), x)


def conv_norm(x: Tensor, conv: nn.Conv2d, last: Norm) -> Tensor:
    """Normalise the convolution of a map; keep the map alone, and convolve once more in the backward pass.

    Takes and refuses what `norm_relu_conv` does.
    """
    return _apply(_Chain(None, conv, last), x)


def norm_relu_pool(x: Tensor, norm: Norm, pool: nn.MaxPool2d) -> Tensor:
    """Pool the normalised and rectified map; keep the map alone, without places, and pool once more to go back.

    Takes a map (batch, channels, height, width).
    """
    return cast(Tensor, _Pooled.apply((norm, pool), x, norm.weight, norm.bias))


@dataclass(frozen=True, slots=True)
class _Chain:
    """A convolution, of a map that is normalised and rectified first where `first` is given, normalised by `last`."""

    first: Norm | None
    conv: nn.Conv2d
    last: Norm | None

    def convolved(self, z: Tensor, kernel: Tensor) -> Tensor:
        conv = self.conv
        return F.conv2d(z, kernel, None, conv.stride, conv.padding, conv.dilation, conv.groups)

    def gradients(
        self, gradient: Tensor | None, z: Tensor, kernel: Tensor, needed: tuple[bool, bool]
    ) -> tuple[Tensor | None, Tensor | None]:
        """Return the gradients of the map that is convolved and of the kernel, each None where it is not needed."""
        conv = self.conv
        place = conv.stride, conv.padding, conv.dilation, False, (0, 0), conv.groups
        of_z, of_kernel, _ = _OPS.convolution_backward(gradient, z, kernel, None, *place, [*needed, False])
        return of_z, of_kernel


def _apply(chain: _Chain, x: Tensor) -> Tensor:
    conv, norms = chain.conv, (chain.first, chain.last)
    if conv.bias is not None or conv.padding_mode != "zeros" or isinstance(conv.padding, str):
        raise ValueError(f"{conv}: only a convolution without bias, padded by a number of zeros, can be fused")
    parameters = [tensor for norm in norms for tensor in (_NOTHING if norm is None else (norm.weight, norm.bias))]
    return cast(Tensor, _Convolved.apply(chain, x, conv.weight, *parameters))


class _Convolved(Function):
    """What a chain computes of a map; autograd has to be shown its parameters one by one."""

    @staticmethod
    def forward(ctx: Any, chain: _Chain, x: Tensor, kernel: Tensor, *parameters: Tensor | None) -> Tensor:
        """Compute the chain; keep the map, what was seen of it, and parameters, to be refused if changed meanwhile."""
        z, seen, last_seen = x, _NOTHING, _NOTHING
        if chain.first is not None:
            z, seen = chain.first.forward(x)
            z.relu_()
        y = chain.convolved(z, kernel)
        ctx.chain, ctx.dtype = chain, y.dtype
        if chain.last is not None:
            y, last_seen = chain.last.forward(y)
        ctx.save_for_backward(x, kernel, *seen, *last_seen, *parameters)
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Any, ...]:
        """Return the gradients of the map, the kernel and the weights and biases of both norms, where needed."""
        chain: _Chain = ctx.chain
        x, kernel, *seen = ctx.saved_tensors[:6]
        _, x_needs, kernel_needs, *norms_need = ctx.needs_input_grad
        z = x if chain.first is None else chain.first.again(x, seen[:2]).relu_()
        read, kernel = z.to(ctx.dtype), kernel.to(ctx.dtype)
        of_first: _Gradients = None, None
        of_last: _Gradients = None, None
        if chain.last is not None:
            y = chain.convolved(read, kernel)
            of_y, *of_last = chain.last.backward(gradient, y, seen[2:], (True, *norms_need[2:]))
            del y
        else:
            of_y = gradient
        z_needs = x_needs or any(norms_need[:2])
        of_x, of_kernel = chain.gradients(of_y, read, kernel, (z_needs, kernel_needs))
        if chain.first is not None and of_x is not None:
            of_z = _rectified_gradient(of_x.to(z.dtype), z)
            del read, z
            of_x, *of_first = chain.first.backward(of_z, x, seen[:2], (x_needs, *norms_need[:2]))
        return None, of_x, of_kernel, *of_first, *of_last


class _Pooled(Function):
    """What a pool gives of a map that is normalised and rectified."""

    @staticmethod
    def forward(ctx: Any, chain: tuple[Norm, nn.MaxPool2d], x: Tensor, *parameters: Tensor) -> Tensor:
        """Pool; keep the map, what was seen of it, and parameters, to be refused if changed meanwhile."""
        ctx.chain = norm, pool = chain
        z, seen = norm.forward(x)
        ctx.save_for_backward(x, *seen, *parameters)
        return cast(Tensor, F.max_pool2d(z.relu_(), *_window(pool)))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Any, ...]:
        """Return the gradients of the map and of the norm's weight and bias, where needed."""
        norm, pool = ctx.chain
        x, *seen = ctx.saved_tensors[:3]
        z = norm.again(x, seen).relu_()
        _, places = F.max_pool2d(z, *_window(pool), return_indices=True)
        of_z = _OPS.max_pool2d_with_indices_backward(gradient, z, *_window(pool), places)
        return None, *norm.backward(_rectified_gradient(of_z, z), x, seen, ctx.needs_input_grad[1:])


def _window(pool: nn.MaxPool2d) -> tuple[Any, ...]:
    pairs = (pool.kernel_size, pool.stride, pool.padding, pool.dilation)
    return *((size, size) if isinstance(size, int) else size for size in pairs), pool.ceil_mode


def _rectified_gradient(gradient: Tensor, z: Tensor) -> Tensor:
    """Return, in its own memory, the gradient of what a ReLU turned into `z`."""
    _OPS.threshold_backward.grad_input(gradient, z, 0, grad_input=gradient)
    return gradient
