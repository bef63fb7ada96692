"""What the shipped network said of one split, as a report tells it: scores, the worst mistakes, how sure it was."""

from collections.abc import Sequence
from contextlib import suppress
from io import BytesIO

import torch
from PIL import Image
from torch import Tensor

from resnext.artefact.manifest import Calibration
from resnext.data.dataset import Data, Dataset
from resnext.data.stream import Stream
from resnext.data.views import pictures
from resnext.evaluation.calibration import ece_percent, reliability
from resnext.evaluation.metrics import Counts, Scores
from resnext.evaluation.outputs import Outputs
from resnext.imaging.decode import ImageError
from resnext.report.story import Examination, Mistake, Reliability

MOST_MISTAKES = 24
THUMBNAIL_SIDE = 96
_JPEG_QUALITY = 85
_IMAGES_AT_A_TIME = 1024


def examine(split: str, outputs: Outputs, data: Data, calibration: Calibration | None) -> Examination:
    """Score what was said of a split, look at the worst mistakes, and at what probabilities were worth."""
    raw = outputs.logits.softmax(dim=1)
    calibrated = (outputs.logits / calibration.temperature).softmax(dim=1) if calibration else None
    shown = raw if calibrated is None else calibrated
    return Examination(
        split=split,
        scores=scores_of(outputs, data.class_names),
        num_mistakes=int((outputs.logits.argmax(dim=1) != outputs.labels).sum()),
        mistakes=_mistakes(shown, outputs, data.split(split), data.class_names),
        raw=_reliability(raw, outputs.labels),
        calibrated=None if calibrated is None else _reliability(calibrated, outputs.labels),
        calibration=_calibration_in_words(calibration, data),
    )


def scores_of(outputs: Outputs, class_names: Sequence[str]) -> Scores:
    """Score what was said, some images at a time, so that little memory is needed beside the logits."""
    parts = zip(
        torch.split(outputs.logits, _IMAGES_AT_A_TIME), torch.split(outputs.labels, _IMAGES_AT_A_TIME), strict=True
    )
    counted = (Counts.of(logits, labels) for logits, labels in parts)
    return Scores.of(sum(counted, start=Counts.none(len(class_names))), class_names)


def thumbnail(image: Image.Image, side: int = THUMBNAIL_SIDE) -> bytes:
    """Return a JPEG of an image, not larger than a square of `side`; one of a few pixels is enlarged pixel by pixel."""
    image = image.convert("RGB")
    times = side // max(image.size)
    if times > 1:
        image = image.resize((image.width * times, image.height * times), Image.Resampling.NEAREST)
    image.thumbnail((side, side))
    stream = BytesIO()
    image.save(stream, "JPEG", quality=_JPEG_QUALITY)
    return stream.getvalue()


def _mistakes(
    probabilities: Tensor, outputs: Outputs, dataset: Dataset | Stream, class_names: Sequence[str]
) -> tuple[Mistake, ...]:
    """Return the mistakes whose true class was given the least probability, as far as their images can be read."""
    said = outputs.logits.argmax(dim=1)
    of_right = probabilities.gather(1, outputs.labels[:, None])[:, 0]
    wrong = (said != outputs.labels).nonzero()[:, 0]
    worst = wrong[of_right[wrong].argsort(stable=True)][:MOST_MISTAKES].tolist()
    thumbnails = _thumbnails(dataset, {outputs.names[row] for row in worst})
    found = []
    for row in worst:
        name, answer, right = outputs.names[row], int(said[row]), int(outputs.labels[row])
        if name not in thumbnails:
            continue
        found.append(
            Mistake(
                thumbnail=thumbnails[name],
                name=name,
                said=class_names[answer],
                said_probability=float(probabilities[row, answer]),
                right=class_names[right],
                right_probability=float(of_right[row]),
            )
        )
    return tuple(found)


def _thumbnails(split: Dataset | Stream, names: set[str]) -> dict[str, bytes]:
    """Return thumbnails of images by name, but of those that could be read when they were scored and no longer can."""
    found = {}
    for picture in pictures(split):
        if picture.name in names:
            with suppress(ImageError):
                found[picture.name] = thumbnail(picture.image())
        if len(found) == len(names):
            break
    return found


def _reliability(probabilities: Tensor, labels: Tensor) -> Reliability:
    return Reliability(ece_percent=ece_percent(probabilities, labels), bins=reliability(probabilities, labels))


def _calibration_in_words(calibration: Calibration | None, data: Data) -> str:
    if calibration:
        return (
            f"Logits are divided by {calibration.temperature:.3f}, the temperature fitted on {calibration.num_images:,}"
            f" {calibration.split} images, so that probabilities come to mean what they say."
        )
    if data.selection == "test":
        return "Not calibrated: there are no validation images, and a temperature is never fitted on the test set."
    return "Not calibrated: no temperature was fitted."
