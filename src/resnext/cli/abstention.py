"""What `evaluate --target-precision` finds: a threshold on val, and what it costs there and on test."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from resnext.artefact.manifest import Manifest
    from resnext.data.dataset import Data
    from resnext.evaluation.abstention import Abstention
    from resnext.evaluation.answers import Answers

_FIELDS = ("num_images", "num_answered", "num_right", "coverage_percent", "precision_percent", "interval_percent")


@dataclass(frozen=True)
class Abstentions:
    """The threshold that was found on val for a precision, at work on every split that was held out."""

    target_precision: float
    splits: "Mapping[str, Abstention]"

    @property
    def threshold(self) -> float:
        """The probability below which nothing is said."""
        return self.splits["val"].threshold

    @property
    def is_reached(self) -> bool:
        """Whether there is a threshold that has the precision on val."""
        return self.splits["val"].reaches(self.target_precision)

    def plain(self) -> dict[str, Any]:
        """Return the figures as JSON can hold them."""
        return {
            "target_precision": self.target_precision,
            "is_reached": self.is_reached,
            "threshold": self.threshold,
            **{name: {field: getattr(one, field) for field in _FIELDS} for name, one in self.splits.items()},
        }


def splits_for_a_threshold(data: "Data", manifest: "Manifest") -> tuple[str, ...]:
    """Return val, and test where there is one.

    Raises `DataError` where a threshold found on val would promise too much: there is none, or, where what is held out
    is not to be trusted, its images may have been trained on.
    """
    from resnext.cli.held_out import is_trusted
    from resnext.data.dataset import DataError

    if "val" not in data.splits:
        raise DataError(
            f"--target-precision: {data.source} has no val split to find a threshold on, and one found on the test"
            " images would promise too much of them; give data with a val split"
        )
    if not is_trusted(data, manifest):
        raise DataError(
            f"--target-precision: {data.source} is not what the artefact was trained on and has no splits of its own,"
            " so that any of its images may have been trained on; put images that were not into val/ and test/"
        )
    return tuple(name for name in ("val", "test") if name in data.splits)


def find_threshold(target: float, answers: "Mapping[str, Answers]") -> Abstentions:
    """Find the threshold on val, and count what it does on every split."""
    from resnext.evaluation.abstention import answers_at, threshold_for

    threshold = threshold_for(target, answers["val"].probabilities, answers["val"].is_right).threshold
    splits = {name: answers_at(threshold, one.probabilities, one.is_right) for name, one in answers.items()}
    return Abstentions(target, splits)


def print_abstentions(found: Abstentions | None) -> None:
    """Print the threshold, and a line for each split, where one was looked for."""
    from resnext.cli.console import results, thousands
    from resnext.report.words import percent

    if found is None:
        return
    console, target = results(), f"{100 * found.target_precision:g} %"
    where = f"--unknown-below {found.threshold!r}" if found.threshold else "every image answered"
    missed = f"no threshold has a precision of {target} on val; the highest there is has "
    console.print(f"\n{f'precision {target}: ' if found.is_reached else missed}{where}")
    for name, one in found.splits.items():
        low, high = one.interval_percent
        console.print(
            f"{name}: precision {percent(one.precision_percent)} % (95 % interval {percent(low)} to {percent(high)} %),"
            f" coverage {percent(one.coverage_percent)} %: {thousands(one.num_right)} of {thousands(one.num_answered)}"
            f" answers are right, {thousands(one.num_images - one.num_answered)} images unknown"
        )
