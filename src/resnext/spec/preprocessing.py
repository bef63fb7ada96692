"""How an image becomes the input of a network: the part of a classifier most often lost."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from resnext.spec.value import Spec, SpecError

MAX_SIDE = 4096

Side = Annotated[int, Field(strict=True, ge=1, le=MAX_SIDE)]
Colour = tuple[float, float, float]
PositiveColour = tuple[Annotated[float, Field(gt=0)], Annotated[float, Field(gt=0)], Annotated[float, Field(gt=0)]]
Interpolation = Literal["bilinear", "bicubic"]

IMAGENET_MEAN: Colour = (0.485, 0.456, 0.406)
IMAGENET_STD: Colour = (0.229, 0.224, 0.225)


class Preprocessing(Spec):
    """Resize the shorter side to `resize_size`, crop the central square of `image_size`, scale to [0, 1], normalise.

    Sizes are in pixels; `mean` and `std` are of RGB values in [0, 1].
    """

    image_size: Side
    resize_size: Side
    interpolation: Interpolation = "bicubic"
    mean: Colour = IMAGENET_MEAN
    std: PositiveColour = IMAGENET_STD

    @model_validator(mode="after")
    def _the_crop_fits(self) -> Self:
        if self.resize_size < self.image_size:
            raise SpecError(
                f"resize_size = {self.resize_size}: at least image_size = {self.image_size} is needed, or the crop"
                " would not fit into the image"
            )
        return self
