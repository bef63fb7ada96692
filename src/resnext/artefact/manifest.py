"""What an artefact says of itself: all that is needed to use the weights, and who made them how."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from resnext.spec.architecture import Architecture
from resnext.spec.preprocessing import Preprocessing
from resnext.spec.value import Spec, SpecError


class Measurement(Spec):
    """One score of the weights in the file, and the protocol by which it was measured."""

    split: str
    protocol: str
    num_images: Annotated[int, Field(ge=1)]
    top1_error_percent: float
    top5_error_percent: float | None = None
    loss: float


class Calibration(Spec):
    """A temperature by which logits are divided, so that probabilities come to mean what they say (arXiv 1706.04599).

    It was fitted on `num_images` of a split, and the expected calibration errors, in percent, were measured on the same
    images without it and with it.
    """

    temperature: Annotated[float, Field(gt=0)]
    split: str
    num_images: Annotated[int, Field(ge=1)]
    ece_before_percent: float
    ece_after_percent: float


class Provenance(Spec):
    """Which run made the weights: enough to make them again.

    `data` names what they were trained on, and `command` is the command line; what is shared has no folders in the
    one, and None for the other.
    """

    recipe: str
    recipe_digest: str
    recipe_toml: str
    data: str
    data_digest: str
    seed: int
    epoch: int
    command: str | None = None
    device: str
    versions: dict[str, str]
    commit: str | None = None
    created: str
    wall_seconds: float


class Manifest(Spec):
    """The words that travel with the weights; `provenance` is None where another library trained them."""

    format: Literal[1] = 1
    architecture: Architecture
    preprocessing: Preprocessing
    class_names: tuple[str, ...]
    measurements: tuple[Measurement, ...] = ()
    calibration: Calibration | None = None
    provenance: Provenance | None = None

    @model_validator(mode="after")
    def _a_name_for_every_class(self) -> Self:
        if len(self.class_names) != self.architecture.num_classes:
            raise SpecError(
                f"class_names = {len(self.class_names)} names: the network has {self.architecture.num_classes} classes"
            )
        return self
