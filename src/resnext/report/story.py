"""What a run report tells, as values: numbers, words and small pictures."""

from collections.abc import Mapping
from dataclasses import dataclass

from resnext.evaluation.calibration import Bin
from resnext.evaluation.metrics import Scores
from resnext.spec.departures import Departure
from resnext.spec.facts import Choice


@dataclass(frozen=True, slots=True, kw_only=True)
class Epoch:
    """One epoch, counted from 1: means over its training images, and how the held-out images were scored after it."""

    epoch: int
    train_loss: float
    train_error_percent: float
    held_out_loss: float
    held_out_error_percent: float
    learning_rate: float
    images_per_second: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    """One measurement: of which weights (`best epoch 12`), on which split, by which protocol."""

    weights: str
    split: str
    protocol: str
    num_images: int
    top1_error_percent: float
    top5_error_percent: float | None
    loss: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Mistake:
    """An image that was taken for another class: a JPEG of it, and the probabilities of what was said and was right."""

    thumbnail: bytes
    name: str
    said: str
    said_probability: float
    right: str
    right_probability: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Reliability:
    """How far probabilities meant what they said on some images."""

    ece_percent: float
    bins: tuple[Bin, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Examination:
    """All that the shipped network said of one split.

    `mistakes` are the worst of `num_mistakes`, worst first. `raw` is the reliability of probabilities as the network
    gives them, `calibrated` that after division of the logits by a temperature, None where there is none; `calibration`
    is a sentence about how it was fitted, or why there is none.
    """

    split: str
    scores: Scores
    num_mistakes: int
    mistakes: tuple[Mistake, ...]
    raw: Reliability
    calibrated: Reliability | None
    calibration: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """One start of a run, or one time that it went on, after a step."""

    time: str
    after_step: int
    place: str
    command: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RunStory:
    """A run, told.

    `ending` is a sentence, `wall_seconds` the time of all attempts. `facts` are names and values to be listed as they
    are, `class_sizes` the training images of each class, `rates` the planned learning rate: pairs of the epoch, with
    its fraction, and the rate. `best_epoch` is None where no epoch was scored, `examination` where no artefact was.
    """

    data: str
    network: str
    ending: str
    is_whole: bool
    wall_seconds: float
    num_epochs: int
    facts: Mapping[str, str]
    class_names: tuple[str, ...]
    class_sizes: tuple[int, ...]
    epochs: tuple[Epoch, ...]
    rates: tuple[tuple[float, float], ...]
    best_epoch: int | None
    scores: tuple[Score, ...]
    examination: Examination | None
    choices: tuple[Choice, ...]
    departures: tuple[Departure, ...]
    rate_departure: str | None
    recipe_toml: str
    problems: tuple[str, ...]
    attempts: tuple[Attempt, ...]
