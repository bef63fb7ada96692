"""The ceilings of a machine: the quickest large product of matrices that anything installed computes, and a large copy.

No library is the quickest on every processor, so several compute the same product and the best counts: torch, and
every engine, given the product as a 1x1 convolution. A copy shows how fast memory is, which layers with little
arithmetic for what they read and write cannot pass.
"""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn

from resnext.inference.contest import quickest_ms
from resnext.inference.engine import DTYPES, FloatPrecision
from resnext.inference.engines import Ready, installed

SIDE = 4096  # of the matrices; a product has SIDE ** 3 multiply-accumulates

_COPIED_BYTES = 2**28  # more than a cache holds
_MAP_WIDTH = 64
_NUM_TRIALS = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Product:
    """The quickest product in a precision; calling `run` computes it once. `macs` are its multiply-accumulates."""

    precision: FloatPrecision
    computed_by: str
    run: Callable[[], Tensor]
    macs: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Copy:
    """A copy in memory; calling `run` makes it once, with torch's threads. `num_bytes` are read and written."""

    run: Callable[[], Tensor]
    num_bytes: int


def large_copy() -> Copy:
    """Return a copy of 268 MB."""
    source = torch.ones(_COPIED_BYTES, dtype=torch.uint8)  # pages of zeros may be all the same one
    return Copy(run=partial(torch.empty_like(source).copy_, source), num_bytes=2 * _COPIED_BYTES)


def quickest_product(precision: FloatPrecision) -> Product:
    """Return the quickest product in a precision, each tried twice after a call that is not counted."""
    runs = _products(precision)
    times: dict[str, float] = {}
    for name, run in runs.items():
        run()
        times[name] = min(quickest_ms(run) for _ in range(_NUM_TRIALS))
    quickest = min(times, key=times.__getitem__)
    return Product(precision=precision, computed_by=quickest, run=runs[quickest], macs=SIDE**3)


def _products(precision: FloatPrecision) -> dict[str, Callable[[], Tensor]]:
    """Return every way to multiply two matrices of `SIDE` that can be had here."""
    generator = torch.Generator().manual_seed(0)
    left, right = (torch.randn(SIDE, SIDE, generator=generator) for _ in range(2))
    runs: dict[str, Callable[[], Tensor]] = {
        "torch": partial(torch.mm, left.to(DTYPES[precision]), right.to(DTYPES[precision]))
    }
    conv = nn.Conv2d(SIDE, SIDE, 1, bias=False)
    with torch.no_grad():
        conv.weight.copy_(right.T[:, :, None, None])
    maps = left.T.reshape(1, SIDE, SIDE // _MAP_WIDTH, _MAP_WIDTH)
    ready = Ready(conv, maps)
    for name in installed(maps.device):
        with suppress(ValueError):  # an engine without the precision
            runs[f"{name}, 1x1 convolution"] = partial(ready.engine(name, precision), maps)
    return runs
