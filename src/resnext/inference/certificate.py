"""What an exported file answers, beside what the artefact answers: counted on images, and kept beside the file."""

from collections.abc import Callable, Iterable
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor

from resnext.inference.quantise import Cost
from resnext.spec.value import Spec

# Runtimes differ by 1e-5 of the largest logit at most; so near, only what is as good as a tie is told otherwise.
_MOST_RELATIVE, _LEAST_AGREEING = 1e-4, 0.99
_NOT_FINITE = torch.finfo(torch.float32).max

Format = Literal["onnx", "openvino", "torch", "torchvision", "timm"]


class Agreement(Spec):
    """To how many images two give the same class, and how far apart their logits are; `images` names them."""

    images: str
    num_images: Annotated[int, Field(ge=1)]
    num_agreeing: Annotated[int, Field(ge=0)]
    largest_difference: float
    largest_logit: float

    @property
    def percent(self) -> float:
        """The images to which both give the same class, in percent."""
        return 100 * self.num_agreeing / self.num_images

    def words(self) -> str:
        """Say it in half a sentence."""
        relative = self.largest_difference / self.largest_logit if self.largest_logit else self.largest_difference
        return (
            f"top-1 the same for {self.num_agreeing:,} of {self.num_images:,} images, logits within"
            f" {self.largest_difference:.1e} of each other ({relative:.1e} of the largest)"
        )

    def is_enough(self) -> bool:
        """Tell whether both compute the same, up to rounding: what an export in fp32 has to."""
        return (
            self.largest_difference <= _MOST_RELATIVE * self.largest_logit
            and self.num_agreeing >= _LEAST_AGREEING * self.num_images
        )


class Certificate(Spec):
    """How an exported file compares with the artefact that it was made from, and by what that was found.

    `runtime` computed the file, whose parts have the SHA-256 in `files`; `artefact` is that of the weights. `int8` is
    what that costs, where it is in that, and `scored_on` names the images that showed it.
    """

    format: Format
    runtime: str
    files: dict[str, str]
    artefact: str
    agreement: Agreement
    int8: Cost | None = None
    scored_on: str | None = None
    versions: dict[str, str]
    created: str


def agreement(
    expected: Callable[[Tensor], Tensor], given: Callable[[Tensor], Tensor], batches: Iterable[Tensor], images: str
) -> Agreement:
    """Compare the logits that two give to batches of normalised images, which `images` names.

    Logits that are not finite are as far apart as can be. Raises `ValueError` where there is no image.
    """
    num_images = num_agreeing = 0
    difference = largest = 0.0
    for batch in batches:
        with torch.inference_mode():
            ours, theirs = expected(batch), given(batch)
        num_images += len(batch)
        num_agreeing += int((ours.argmax(dim=1) == theirs.argmax(dim=1)).sum())
        difference = max(difference, float((ours - theirs).abs().nan_to_num(nan=_NOT_FINITE).max()))
        largest = max(largest, float(ours.abs().nan_to_num(nan=_NOT_FINITE).max()))
    if num_images == 0:
        raise ValueError("no image to compare on; give at least one that can be read")
    return Agreement(
        images=images,
        num_images=num_images,
        num_agreeing=num_agreeing,
        largest_difference=difference,
        largest_logit=largest,
    )
