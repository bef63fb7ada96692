"""What the shipped network said of one split, as a report tells it: scores, the worst mistakes, how sure it was."""

from collections.abc import Sequence
from contextlib import suppress

import torch
from torch import Tensor

from resnext.artefact.manifest import Calibration
from resnext.data.dataset import Data, Dataset
from resnext.data.stream import Stream
from resnext.data.views import pictures
from resnext.evaluation.answers import answers_of
from resnext.evaluation.calibration import ece_percent, reliability
from resnext.evaluation.metrics import Counts, Scores
from resnext.evaluation.outputs import Outputs
from resnext.imaging.decode import ImageError
from resnext.imaging.thumbnail import thumbnail
from resnext.report.story import Examination, Mistake, Reliability

MOST_MISTAKES = 24
THUMBNAIL_SIDE = 96
_IMAGES_AT_A_TIME = 1024


def examine(split: str, outputs: Outputs, data: Data, calibration: Calibration | str) -> Examination:
    """Score what was said of a split, look at the worst mistakes, and at what probabilities were worth.

    `calibration` is that of the network, or the reason why there is none.
    """
    temperature = calibration.temperature if isinstance(calibration, Calibration) else 1.0
    answers = answers_of(outputs, temperature)
    return Examination(
        split=split,
        scores=scores_of(outputs, data.class_names),
        num_mistakes=int((~answers.is_right).sum()),
        mistakes=_mistakes(_of((~answers.is_right).nonzero()[:, 0], outputs), temperature, split, data),
        raw=_reliability(answers.raw_probabilities, answers.is_right),
        calibrated=_reliability(answers.probabilities, answers.is_right)
        if isinstance(calibration, Calibration)
        else None,
        calibration=_in_words(calibration),
    )


def scores_of(outputs: Outputs, class_names: Sequence[str]) -> Scores:
    """Score what was said, some images at a time, so that little memory is needed beside the logits."""
    parts = zip(
        torch.split(outputs.logits, _IMAGES_AT_A_TIME), torch.split(outputs.labels, _IMAGES_AT_A_TIME), strict=True
    )
    counted = (Counts.of(logits, labels) for logits, labels in parts)
    return Scores.of(sum(counted, start=Counts.none(len(class_names))), class_names)


def _of(rows: Tensor, outputs: Outputs) -> Outputs:
    """Return some rows of outputs."""
    return Outputs(outputs.logits[rows], outputs.labels[rows], tuple(outputs.names[row] for row in rows.tolist()))


def _mistakes(wrong: Outputs, temperature: float, split: str, data: Data) -> tuple[Mistake, ...]:
    """Return the mistakes whose true class was given the least probability, as far as their images can be read."""
    probabilities = (wrong.logits.double() / temperature).softmax(dim=1)
    of_right = probabilities.gather(1, wrong.labels[:, None])[:, 0]
    worst = of_right.argsort(stable=True)[:MOST_MISTAKES].tolist()
    thumbnails = _thumbnails(data.split(split), {wrong.names[row] for row in worst})
    said = wrong.logits.argmax(dim=1).tolist()
    return tuple(
        Mistake(
            thumbnail=thumbnails[wrong.names[row]],
            name=wrong.names[row],
            said=data.class_names[said[row]],
            said_probability=float(probabilities[row, said[row]]),
            right=data.class_names[int(wrong.labels[row])],
            right_probability=float(of_right[row]),
        )
        for row in worst
        if wrong.names[row] in thumbnails
    )


def _thumbnails(split: Dataset | Stream, names: set[str]) -> dict[str, bytes]:
    """Return thumbnails of images by name, but of those that could be read when they were scored and no longer can."""
    found = {}
    for picture in pictures(split):
        if picture.name in names:
            with suppress(ImageError):
                found[picture.name] = thumbnail(picture.image(), THUMBNAIL_SIDE)
        if len(found) == len(names):
            break
    return found


def _reliability(confidences: Tensor, is_right: Tensor) -> Reliability:
    return Reliability(ece_percent=ece_percent(confidences, is_right), bins=reliability(confidences, is_right))


def _in_words(calibration: Calibration | str) -> str:
    if isinstance(calibration, str):
        return f"Not calibrated: {calibration}."
    return (
        f"Logits are divided by {calibration.temperature:.3f}, the temperature fitted on {calibration.num_images:,}"
        f" {calibration.split} images, so that probabilities come to mean what they say."
    )
