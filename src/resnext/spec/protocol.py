"""What of an image a network is shown when it is scored: one crop, ten, or all of it (section 5, Table 5)."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from resnext.spec.preprocessing import MAX_SIDE, Preprocessing
from resnext.spec.value import Spec, SpecError

Crops = Literal["single", "ten", "dense"]

DENSE_SCALES = (224, 256, 384, 480, 640)
DENSE_SCALES_OF = 224

_MIN_SCALE = 32  # what ImageNet's networks shrink to one place of their last map

Scale = Annotated[int, Field(strict=True, ge=_MIN_SCALE, le=MAX_SIDE)]


class ScoringProtocol(Spec):
    """How an image is shown: the network's outputs for all that it is shown of one are averaged, as logits.

    `single` shows the central crop, the paper's protocol at 224 and 320 pixels; `ten` the centre, the four corners and
    the mirror image of each; `dense` the whole image with its shorter side, in pixels, at each of `scales`: the network
    averages its last map whatever the size, so that it is applied at every place at once.
    Source: the authors' datasets/transforms.lua has the ten crops, their train.lua the sum of outputs before softmax;
    the scales of the ResNet paper (arXiv 1512.03385, section 3.4), whose crops have 224 pixels, are `DENSE_SCALES`.
    """

    preprocessing: Preprocessing
    crops: Crops = "single"
    scales: tuple[Scale, ...] = ()

    @model_validator(mode="after")
    def _scales_are_for_dense(self) -> Self:
        if self.crops == "dense" and not self.scales:
            raise SpecError("scales = (): dense needs the shorter sides, in pixels, at which images are shown")
        if self.crops != "dense" and self.scales:
            raise SpecError(f"scales = {self.scales}: only crops = 'dense' has scales; crops is {self.crops!r}")
        return self

    @classmethod
    def dense(cls, preprocessing: Preprocessing) -> Self:
        """Return the dense protocol at the ResNet paper's scales, in proportion to the size of the crop."""
        sides = (round(scale * preprocessing.image_size / DENSE_SCALES_OF) for scale in DENSE_SCALES)
        scales = tuple(dict.fromkeys(max(_MIN_SCALE, side) for side in sides))
        return cls(preprocessing=preprocessing, crops="dense", scales=scales)

    @property
    def num_views(self) -> int:
        """How many views of each image there are."""
        return {"single": 1, "ten": 10, "dense": len(self.scales)}[self.crops]

    def words(self) -> str:
        """Return the protocol as a few words, for people who compare figures."""
        if self.crops == "dense":
            return f"dense, shorter side {', '.join(str(scale) for scale in self.scales)}"
        size, resized = self.preprocessing.image_size, self.preprocessing.resize_size
        crops = "single crop" if self.crops == "single" else "ten crops of"
        return f"{crops} {size}, shorter side {resized}"
