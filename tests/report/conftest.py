from collections.abc import Callable
from html.parser import HTMLParser
from io import BytesIO
from typing import Any

import pytest
from PIL import Image

from resnext.evaluation.calibration import Bin
from resnext.evaluation.estimate import Estimate
from resnext.evaluation.metrics import ClassScores, Scores
from resnext.report.story import Attempt, Epoch, Examination, Mistake, Reliability, RunStory, Score
from resnext.report.study_story import Calculated, EpochMean, Finding, Line, PublishedFigure, StudyStory, StudyTable
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


# C, d, parameters, multiply-accumulates, error here, error in the paper
PROXY_LINES = (
    (1, 32, 423_818, 14_900_000, 8.31, 23.9),
    (2, 19, 412_009, 14_400_000, 8.02, 23.0),
    (4, 12, 430_121, 15_000_000, 7.64, 22.6),
    (8, 7, 433_417, 15_200_000, 7.55, 22.3),
    (32, 2, 441_290, 15_600_000, 7.21, 22.2),
)


def study_line(paths: int = 1, width: int = 32, *, mean: float = 8.31, num_epochs: int = 5, **given: Any) -> Line:
    setting = f"{'resnet' if paths == 1 else 'resnext'}11_{paths}x{width}d"
    values: dict[str, Any] = {
        "setting": setting,
        "cardinality": paths,
        "base_width": width,
        "params": 423_818,
        "macs": 14_900_000,
        "last": Estimate(mean, 0.21, 5),
        "best": Estimate(mean - 0.3, 0.19, 5),
        "num_failed": 0,
        "paper": None,
        "others": (),
        "images_per_second": 1234.5,
        "seconds": 61.0,
        "curve": tuple(
            EpochMean(epoch=epoch, train=mean + 50 / epoch, held_out=mean + 30 / epoch)
            for epoch in range(1, num_epochs + 1)
        ),
        "rerun": f"resnext study run table3 --scale digits --only {setting}",
    }
    return Line(**{**values, **given})


def study_table(**given: Any) -> StudyTable:
    lines = tuple(
        study_line(
            paths,
            width,
            mean=mean,
            params=params,
            macs=macs,
            paper=PublishedFigure(
                value=paper, protocol="single crop 224, shorter side 256", source="arXiv 1611.05431v2"
            ),
        )
        for paths, width, params, macs, mean, paper in PROXY_LINES
    )
    slope = "slope for each doubling of C, 11 layers"
    ends = "resnext11_32x2d against resnet11_1x32d"
    values: dict[str, Any] = {
        "name": "table3",
        "scale": "digits",
        "scale_title": "digits: 8x8 pixels, 11 layers, base channels 32",
        "title": "Cardinality against width at equal complexity",
        "question": "Does error fall as C grows and d shrinks, complexity kept equal?",
        "claim": "It falls with every step from C = 1 to 32.",
        "is_proxy": True,
        "data": "digits",
        "quantity": "top-1 error, %",
        "protocol": "last epoch, 180 held-out images, single crop 8",
        "num_seeds": 5,
        "lines": lines,
        "findings": (
            Finding(name=ends, estimate=Estimate(-1.1, 0.31, 5), verdict="supports", decides=False, seeds_needed=None),
            Finding(name=slope, estimate=Estimate(-0.22, 0.06, 5), verdict="supports", decides=True, seeds_needed=None),
        ),
        "verdict": "supports",
        "page_p": 0.0123,
        "seeds_needed": None,
        "departures": (Departure("epochs", 300, 8), Departure("image.size", 32, 8)),
        "facts": {"runs": "25 of 25", "machine": "cpu, 2 cores", "commit": "abcdef1"},
        "rerun": "resnext study run table3 --scale digits --seeds 5",
    }
    return StudyTable(**{**values, **given})


def studies(*tables: StudyTable, **given: Any) -> StudyStory:
    counts = Calculated(
        title="Table 2",
        quantities=("width", "weights"),
        rows=(("1x64d", ((64, 64), (69_632, 69_632))), ("32x4d", ((128, 128), (70_144, None)))),
    )
    return StudyStory(**{"tables": tables, "calculated": (counts,), **given})


@pytest.fixture(scope="session")
def tell_line() -> Callable[..., Line]:
    """Return a setting of a study, with other values where they are given."""
    return study_line


@pytest.fixture(scope="session")
def tell_study() -> Callable[..., StudyTable]:
    """Return a proxy of Table 3, with other values where they are given."""
    return study_table


@pytest.fixture(scope="session")
def tell_studies() -> Callable[..., StudyStory]:
    """Return the story of studies, and one calculated table."""
    return studies


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
