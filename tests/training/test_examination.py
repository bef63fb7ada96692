from collections.abc import Callable
from io import BytesIO

import pytest
import torch
from PIL import Image

from resnext.artefact.manifest import Calibration
from resnext.data.dataset import ArrayDataset, Data, Dataset
from resnext.evaluation.metrics import Counts, Scores
from resnext.evaluation.outputs import Outputs
from resnext.training.examination import examine, scores_of

NAMES = ("red", "green", "blue")


@pytest.fixture
def photos(images: Callable[..., ArrayDataset]) -> ArrayDataset:
    return images("photos", 60)


def opened(dataset: Dataset) -> Data:
    return Data(source="x", class_names=NAMES, splits={"test": dataset}, digest="0" * 64)


def answers(dataset: ArrayDataset, *wrong: int) -> Outputs:
    """Return right answers, but for some images: each of these less and less sure of its class."""
    labels = torch.tensor(dataset.labels)
    logits = 3.0 * torch.eye(3)[labels]
    for place, index in enumerate(wrong):
        logits[index] = 4.0 * torch.eye(3)[(labels[index] + 1) % 3]
        logits[index, labels[index]] = 0.5 - place
    return Outputs(logits, labels, tuple(dataset.name(index) for index in range(len(labels))))


def test_mistakes_are_told_worst_first_with_what_was_said_and_what_is_right(photos: ArrayDataset) -> None:
    seen = examine("test", answers(photos, 7, 2, 40), opened(photos), "too few images")
    assert (seen.split, seen.num_mistakes, seen.scores.num_images) == ("test", 3, 60)
    assert [mistake.name for mistake in seen.mistakes] == ["photos[40]", "photos[2]", "photos[7]"]
    worst = seen.mistakes[0]
    assert (worst.right, worst.said) == ("green", "blue")
    shares = torch.tensor([0.0, -1.5, 4.0]).softmax(0)
    assert (worst.right_probability, worst.said_probability) == pytest.approx((float(shares[1]), float(shares[2])))
    assert Image.open(BytesIO(worst.thumbnail)).format == "JPEG"


def test_there_are_pictures_of_the_worst_mistakes_only(photos: ArrayDataset) -> None:
    seen = examine("test", answers(photos, *range(50)), opened(photos), "too few images")
    assert (seen.num_mistakes, len(seen.mistakes)) == (50, 24)
    assert seen.mistakes[0].name == "photos[49]"


def test_a_mistake_that_can_no_longer_be_read_is_counted_but_not_shown(
    photos: ArrayDataset, damaged: Callable[..., Dataset]
) -> None:
    seen = examine("test", answers(photos, 7, 2), opened(damaged(photos, [2])), "too few images")
    assert seen.num_mistakes == 2
    assert [mistake.name for mistake in seen.mistakes] == ["photos[7]"]


def test_a_temperature_changes_probabilities_but_no_answer(photos: ArrayDataset) -> None:
    outputs = answers(photos, 7)
    calibration = Calibration(temperature=2.0, split="val", num_images=9, ece_before_percent=5.0, ece_after_percent=1.0)
    raw = examine("test", outputs, opened(photos), "too few images")
    seen = examine("test", outputs, opened(photos), calibration)
    assert seen.scores == raw.scores
    assert seen.raw == raw.raw
    halved = examine(
        "test", Outputs(outputs.logits / 2, outputs.labels, outputs.names), opened(photos), "too few images"
    )
    assert seen.calibrated == halved.raw
    assert seen.mistakes == halved.mistakes
    assert "divided by 2.000" in seen.calibration
    assert "9 val images" in seen.calibration


def test_the_reason_is_given_where_nothing_is_calibrated(photos: ArrayDataset) -> None:
    seen = examine("test", answers(photos), opened(photos), "too few images")
    assert seen.calibrated is None
    assert seen.calibration == "Not calibrated: too few images."


def test_scores_do_not_depend_on_how_many_images_are_counted_at_a_time() -> None:
    generator = torch.Generator().manual_seed(0)
    outputs = Outputs(torch.randn(2500, 3, generator=generator), torch.arange(2500) % 3, ("",) * 2500)
    whole, parts = Scores.of(Counts.of(outputs.logits, outputs.labels), NAMES), scores_of(outputs, NAMES)
    assert (parts.confusion, parts.num_images) == (whole.confusion, 2500)
    assert parts.loss == pytest.approx(whole.loss, rel=1e-12)
