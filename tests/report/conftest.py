from collections.abc import Callable
from html.parser import HTMLParser
from io import BytesIO
from typing import Any

import pytest
from PIL import Image

from resnext.evaluation.calibration import Bin
from resnext.evaluation.metrics import ClassScores, Scores
from resnext.report.story import Attempt, Epoch, Examination, Mistake, Reliability, RunStory, Score
from resnext.spec.departures import Departure
from resnext.spec.facts import Choice

TEXT_OF_NO_PAGE = {"style", "script", "svg"}


class Page(HTMLParser):
    """A page as its reader meets it: words, addresses it refers to, names in it, and its tags."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.words = ""
        self.addresses: list[str] = []
        self.ids: list[str | None] = []
        self.tags: list[str] = []
        self._hidden = 0
        self.feed(html)
        self.words = " ".join(self.words.split())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.words += " "
        self._hidden += tag in TEXT_OF_NO_PAGE
        self.addresses += [str(value) for name, value in attrs if name in ("src", "href", "xlink:href", "data")]
        self.ids += [value for name, value in attrs if name == "id"]

    def handle_endtag(self, tag: str) -> None:
        self._hidden -= tag in TEXT_OF_NO_PAGE
        self.words += " "

    def handle_data(self, data: str) -> None:
        if not self._hidden:
            self.words += data


def jpeg() -> bytes:
    stream = BytesIO()
    Image.new("RGB", (8, 8), (200, 30, 60)).save(stream, "JPEG")
    return stream.getvalue()


def examination(names: tuple[str, ...], *, is_calibrated: bool = True, num_mistakes: int = 3) -> Examination:
    """Return what might be said of seven images a class, of which one is taken for the next class."""
    num = len(names)
    confusion = tuple(
        tuple(6 if said == true else int(said == (true + 1) % num) for said in range(num)) for true in range(num)
    )
    classes = tuple(ClassScores(name=name, precision_percent=85.71, recall_percent=85.72, support=7) for name in names)
    mistake = Mistake(
        thumbnail=jpeg(),
        name="photos/one of them.png",
        said=names[-1],
        said_probability=0.873,
        right=names[0],
        right_probability=0.061,
    )
    bins = (Bin(0.6, 0.6667, 4, 0.64, 0.5), Bin(0.9333, 1.0, 10, 0.97, 0.9))
    return Examination(
        split="test",
        scores=Scores(
            num_images=7 * num,
            top1_error_percent=14.29,
            top5_error_percent=None,
            loss=0.4321,
            classes=classes,
            confusion=confusion,
        ),
        num_mistakes=num_mistakes,
        mistakes=(mistake,) * min(num_mistakes, 24),
        raw=Reliability(ece_percent=9.37, bins=bins),
        calibrated=Reliability(ece_percent=2.18, bins=bins) if is_calibrated else None,
        calibration="Logits are divided by 1.357.",
    )


def story(num_classes: int = 3, num_epochs: int = 4, **given: Any) -> RunStory:
    names = given.pop("class_names", tuple(f"class {number}" for number in range(num_classes)))
    epochs = tuple(
        Epoch(
            epoch=epoch,
            train_loss=2.0 / epoch,
            train_error_percent=60.0 / epoch,
            held_out_loss=2.5 / epoch,
            held_out_error_percent=70.0 / epoch,
            learning_rate=0.1,
            images_per_second=312.0,
        )
        for epoch in range(1, num_epochs + 1)
    )
    score = Score(
        weights="best epoch 4",
        split="test",
        protocol="single crop 32, shorter side 36",
        num_images=21,
        top1_error_percent=14.29,
        top5_error_percent=None,
        loss=0.4321,
    )
    values: dict[str, Any] = {
        "data": "flowers",
        "network": "resnext29_8x64d",
        "ending": "Whole: 4 epochs of 25 steps.",
        "is_whole": True,
        "wall_seconds": 3725.0,
        "num_epochs": max(1, num_epochs),
        "facts": {"seed": "17", "versions": "torch 9.9", "commit": "abcdef1", "recipe": "quick, digest 0123456789ab"},
        "class_names": names,
        "class_sizes": tuple(31 + number for number in range(len(names))),
        "epochs": epochs,
        "rates": tuple((step / 25, 0.1 - step / 2000) for step in range(1, 25 * max(1, num_epochs) + 1)),
        "best_epoch": num_epochs or None,
        "scores": (score,) if epochs else (),
        "examination": examination(names) if epochs else None,
        "choices": (Choice("batch_size", 64, "22 steps an epoch"), Choice("augmentation.flip", False, "hands")),
        "departures": (Departure("schedule.kind", "step", "cosine"), Departure("image.mean", (0.1, 0.2, 0.3), None)),
        "rate_departure": "the rate is out of proportion",
        "recipe_toml": 'name = "quick"\nepochs = 4\n',
        "problems": ("a/b.png: left out, damaged image",),
        "attempts": (
            Attempt(time="2026-01-02 03:04 UTC", after_step=0, place="cpu", command="resnext train flowers"),
            Attempt(time="2026-01-03 03:04 UTC", after_step=51, place="2 processes, cuda", command="resnext again"),
        ),
    }
    return RunStory(**{**values, **given})


@pytest.fixture(scope="session")
def tell() -> Callable[..., RunStory]:
    """Return the story of a run of so many classes and epochs, with other values where they are given."""
    return story


@pytest.fixture(scope="session")
def examined() -> Callable[..., Examination]:
    """Return what was said of some images of the classes."""
    return examination


@pytest.fixture(scope="session")
def read() -> type[Page]:
    """Read a page."""
    return Page
