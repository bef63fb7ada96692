"""Engines of torch itself: eager with batch normalisation folded in, and compiled."""

from collections.abc import Mapping
from copy import deepcopy
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from resnext.inference.engine import DTYPES, EngineError, EngineName, FloatPrecision
from resnext.inference.layer_forms import Variant, apply_forms

_FOLDS_CONSTANTS: dict[str, Any] = {"freezing": True}  # weights are laid out once for the kernels that read them


class TorchEngine:
    """A module in torch, channels last, on the device where its weights are; `forms` are those of `apply_forms`."""

    name: EngineName = "torch"

    def __init__(
        self, network: nn.Module, precision: FloatPrecision = "fp32", forms: Mapping[str, Variant] | None = None
    ) -> None:
        self.precision: FloatPrecision = precision
        ready = _ready(network, precision)
        self._network = apply_forms(ready, forms) if forms else ready

    @torch.inference_mode()
    def __call__(self, pixels: Tensor) -> Tensor:
        """Return logits (batch, classes) of normalised images."""
        try:
            return self._network(_laid_out(pixels, self.precision)).float()  # type: ignore[no-any-return]
        except torch.OutOfMemoryError:
            raise
        except RuntimeError as error:
            said = str(error).strip().partition("\n")[0]
            raise EngineError(
                f"images of shape {tuple(pixels.shape)}: this network does not take them ({said})"
            ) from None


class CompiledEngine:
    """A module compiled by torch.compile for batches of one shape, which takes up to a minute at the first of them.

    A smaller batch is filled up to `batch_size`, so that a last one is not compiled anew.
    """

    name: EngineName = "compiled"

    def __init__(self, network: nn.Module, batch_size: int, precision: FloatPrecision = "fp32") -> None:
        self.precision: FloatPrecision = precision
        self._batch_size = batch_size
        self._network: Any = torch.compile(_ready(network, precision), dynamic=False, options=_FOLDS_CONSTANTS)

    @torch.inference_mode()
    def __call__(self, pixels: Tensor) -> Tensor:
        """Return logits (batch, classes) of normalised images."""
        missing = self._batch_size - len(pixels)
        filled = F.pad(pixels, (0, 0, 0, 0, 0, 0, 0, missing)) if missing > 0 else pixels  # which would copy them
        try:
            return self._network(_laid_out(filled, self.precision))[: len(pixels)].float()  # type: ignore[no-any-return]
        except torch._dynamo.exc.TorchDynamoException as error:
            said = str(error).strip().partition("\n")[0]
            raise EngineError(f"engine 'compiled': torch.compile fails here ({said}); use engine 'torch'") from None


def _ready(network: nn.Module, precision: FloatPrecision) -> nn.Module:
    own = deepcopy(network).eval().to(DTYPES[precision])
    return own.to(memory_format=torch.channels_last)


def _laid_out(pixels: Tensor, precision: FloatPrecision) -> Tensor:
    return pixels.to(dtype=DTYPES[precision], memory_format=torch.channels_last)
