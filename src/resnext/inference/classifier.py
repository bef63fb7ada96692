"""A classifier: an engine of a network, how it sees images, and what its classes are called."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from resnext.artefact.manifest import Manifest
from resnext.imaging.decode import ImageError, decode, read, to_rgb
from resnext.imaging.transform import central_crop, normalise, stack
from resnext.inference.choice import Choice
from resnext.inference.engine import Engine
from resnext.spec.preprocessing import Preprocessing

ImageInput = str | Path | bytes | Image.Image | NDArray[np.uint8]

BATCH_SIZE = 32


@dataclass(frozen=True, slots=True)
class Prediction:
    """The most probable classes, best first, and their probabilities."""

    labels: tuple[str, ...]
    probabilities: tuple[float, ...]

    @property
    def label(self) -> str:
        """The most probable class."""
        return self.labels[0]

    @property
    def probability(self) -> float:
        """The probability of the most probable class."""
        return self.probabilities[0]

    def is_known(self, threshold: float) -> bool:
        """Tell whether the answer is as sure as a threshold asks: its probability is at least that."""
        return self.probability >= threshold


class Classifier:
    """Turns images into class names; made by `resnext.load`.

    `engine` computes on `device`, `batch_size` images at a time. `choice` says why it is that one, where it was chosen.
    """

    def __init__(
        self,
        manifest: Manifest,
        engine: Engine,
        device: torch.device,
        batch_size: int = BATCH_SIZE,
        choice: Choice | None = None,
    ) -> None:
        self.manifest = manifest
        self.engine = engine
        self.device = device
        self.batch_size = batch_size
        self.choice = choice

    @property
    def class_names(self) -> tuple[str, ...]:
        """The names of the classes, in the order of the logits."""
        return self.manifest.class_names

    @property
    def preprocessing(self) -> Preprocessing:
        """How images are prepared for the network."""
        return self.manifest.preprocessing

    @property
    def temperature(self) -> float:
        """By what logits are divided before they become probabilities; 1 where the artefact was not calibrated."""
        calibration = self.manifest.calibration
        return 1.0 if calibration is None else calibration.temperature

    def predict(self, images: ImageInput | Iterable[ImageInput], top: int = 5) -> list[Prediction]:
        """Classify images: paths, encoded bytes, PIL images, or numpy arrays of bytes (height, width[, 3]).

        `top` is the number of classes in each answer, at most all of them. Raises `ImageError`, which names the
        image, where one cannot be used, and `ValueError` on a `top` below 1.
        """
        if isinstance(images, str | Path | bytes | Image.Image | np.ndarray):
            images = [images]
        remaining = iter(images)
        predictions: list[Prediction] = []
        while batch := list(islice(remaining, self.batch_size)):
            predictions.extend(self.predict_prepared([self.prepare(image) for image in batch], top))
        return predictions

    def prepare(self, image: ImageInput) -> Image.Image:
        """Decode an image and cut it to the network's input. Raises `ImageError`, naming the image."""
        try:
            return central_crop(_as_rgb(image), self.preprocessing)
        except ImageError as error:
            name = image if isinstance(image, str | Path) else f"an image given as {type(image).__name__}"
            raise ImageError(f"{name}: {error}") from None

    def predict_prepared(self, images: Sequence[Image.Image], top: int = 5) -> list[Prediction]:
        """Classify a batch of images that `prepare` has cut to the network's input."""
        if top < 1:
            raise ValueError(f"top = {top}: at least 1 class is needed")
        logits = self.logits(stack(list(images))).cpu().double()
        classes = logits.topk(min(top, len(self.class_names)), dim=1).indices
        probabilities = (logits / self.temperature).softmax(dim=1).gather(1, classes)
        return [
            Prediction(tuple(self.class_names[i] for i in row), tuple(values))
            for row, values in zip(classes.tolist(), probabilities.tolist(), strict=True)
        ]

    @torch.inference_mode()
    def logits(self, pixels: Tensor) -> Tensor:
        """Return logits (batch, classes), not yet calibrated, of bytes (batch, 3, size, size), cut to its input."""
        return self.engine(normalise(pixels.to(self.device), self.preprocessing))


def _as_rgb(image: ImageInput) -> Image.Image:
    match image:
        case str() | Path():
            return decode(read(Path(image)))
        case bytes():
            return decode(image)
        case Image.Image():
            return to_rgb(image)
        case np.ndarray() if image.dtype == np.uint8 and (image.ndim == 2 or image.shape[2:] == (3,)):
            if 0 in image.shape:
                raise ImageError(f"an array of shape {image.shape}, without a pixel")
            return to_rgb(Image.fromarray(image))
        case np.ndarray():
            raise ImageError(
                f"an array of {image.dtype} {image.shape}: allowed are bytes (uint8) of shape (height, width, 3) or"
                " (height, width)"
            )
    raise ImageError("allowed are a path, encoded bytes, a PIL image or a numpy array")
