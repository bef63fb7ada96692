"""`resnext predict`."""

import csv
import json
import math
import sys
from collections.abc import Iterable, Iterator
from itertools import chain, islice
from typing import TYPE_CHECKING, Annotated

import typer

from resnext.cli.options import ENGINE_HELP, ClassifierArgument, DeviceOption, Engine, PrecisionOption, probability

if TYPE_CHECKING:
    from resnext.imaging.decode import ImageError
    from resnext.inference.classifier import Classifier, Prediction
    from resnext.training.world import World

    Row = tuple[str, Prediction | ImageError]

_STANDARD_INPUT = "-"
_UNKNOWN = "unknown"
_PATH_WIDTH, _LABEL_WIDTH = 40, 12
_MANY = 256  # from here on the seconds that it takes to find the quickest engine are won back
_BATCHES_A_ROUND = 8


def predict(
    artefact: ClassifierArgument,
    sources: Annotated[
        list[str], typer.Argument(help="Images, folders or patterns; - reads a list of them from standard input.")
    ],
    top: Annotated[int, typer.Option(min=1, help="Classes in each answer.")] = 5,
    unknown_below: Annotated[
        str | None,
        typer.Option(metavar="P", help="Say unknown where no class has this probability, 0.9 or 90%."),
    ] = None,
    device: DeviceOption = "auto",
    engine: Annotated[
        Engine | None,
        typer.Option(
            help=f"{ENGINE_HELP} Left out: auto for {_MANY} images or more, else torch; an exported file's own."
        ),
    ] = None,
    precision: PrecisionOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print a JSON object for each image, one a line.")] = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print CSV: a line for each image and class.")] = False,
) -> None:
    """Say what is on images.

    A bad image is a row with its error; the rest goes on, and the status is 1. Processes started by torchrun share the
    images; the first prints all answers.
    """
    from resnext.cli.console import messages
    from resnext.imaging.sources import image_paths
    from resnext.inference.classifier import Prediction
    from resnext.inference.load import device_for, load
    from resnext.training.world import join_world

    if as_json and as_csv:
        raise typer.BadParameter("--json and --csv exclude each other")
    threshold = probability(unknown_below, "--unknown-below", allows_one=True) if unknown_below is not None else None
    show = _print_json if as_json else _print_csv if as_csv else _print_table
    num_images = num_errors = 0
    with join_world() as world:
        place = str(world.device(device_for(artefact, device)))
        paths = image_paths(_named(sources))
        first = [] if engine else world.first(lambda: list(islice(paths, _MANY)))
        name = engine or ("auto" if len(first) == _MANY else None)
        classifier = world.first_before_others(lambda: load(artefact, place, name, precision))
        if world.is_first and classifier.choice:
            messages().print(f"  {classifier.choice.words()}")
        rows = _answers(world, classifier, chain(first, paths), top)
        for row in show(rows, threshold) if world.is_first else rows:
            num_images += 1
            num_errors += not isinstance(row[1], Prediction)
    if num_images == 0:
        raise ValueError(f"no images in {', '.join(sources)}")
    if num_errors:
        raise typer.Exit(1)


def _answers(world: "World", classifier: "Classifier", paths: Iterable[str], top: int) -> "Iterator[Row]":
    """Yield each path with its answer, in order; in every round each of several processes takes a part of the paths."""
    from resnext.inference.files import predict_files

    if world.size == 1:
        yield from predict_files(classifier, paths, top)
        return
    remaining = iter(paths)
    num_images = world.size * classifier.batch_size * _BATCHES_A_ROUND
    while in_round := world.first(lambda: list(islice(remaining, num_images))):
        num_own = math.ceil(len(in_round) / world.size)
        own = in_round[world.rank * num_own :][:num_own]
        for rows in world.gather(list(predict_files(classifier, own, top))):
            yield from rows


def _named(sources: Iterable[str]) -> Iterator[str]:
    """Replace `-` by the lines of standard input."""
    for source in sources:
        if source == _STANDARD_INPUT:
            yield from (line.rstrip("\r\n") for line in sys.stdin if line.strip())
        else:
            yield source


def _label(prediction: "Prediction", threshold: float | None) -> str:
    return prediction.label if threshold is None or prediction.is_known(threshold) else _UNKNOWN


def _print_json(rows: "Iterable[Row]", threshold: float | None) -> "Iterator[Row]":
    from resnext.inference.classifier import Prediction

    for row in rows:
        path, outcome = row
        if isinstance(outcome, Prediction):
            answers = [
                {"label": label, "probability": probability}
                for label, probability in zip(outcome.labels, outcome.probabilities, strict=True)
            ]
            label = {} if threshold is None else {"label": _label(outcome, threshold)}
            print(json.dumps({"image": path, **label, "predictions": answers}), flush=True)
        else:
            print(json.dumps({"image": path, "error": str(outcome)}), flush=True)
        yield row


def _print_csv(rows: "Iterable[Row]", threshold: float | None) -> "Iterator[Row]":
    from resnext.inference.classifier import Prediction

    writer = csv.writer(sys.stdout, lineterminator="\n")
    is_asked = threshold is not None
    writer.writerow(("image", "rank", "label", "probability", "error", *(["answer"] if is_asked else [])))
    for row in rows:
        path, outcome = row
        if isinstance(outcome, Prediction):
            for rank, answer in enumerate(zip(outcome.labels, outcome.probabilities, strict=True), start=1):
                writer.writerow((path, rank, *answer, "", *([_label(outcome, threshold)] if is_asked else [])))
        else:
            writer.writerow((path, "", "", "", str(outcome), *([""] if is_asked else [])))
        yield row


def _print_table(rows: "Iterable[Row]", threshold: float | None) -> "Iterator[Row]":
    """Print a row an image as its answer comes, under one another where names are short."""
    from resnext.cli.console import results
    from resnext.inference.classifier import Prediction

    console = results()
    for row in rows:
        path, outcome = row
        if isinstance(outcome, Prediction):
            answers = zip(outcome.labels, outcome.probabilities, strict=True)
            said = "  ".join(f"{label:<{_LABEL_WIDTH}} {probability:6.1%}" for label, probability in answers)
            if threshold is not None and not outcome.is_known(threshold):
                said = f"{_UNKNOWN:<{_LABEL_WIDTH}} best guess {outcome.label} {outcome.probability:.1%}"
            console.print(f"{path:<{_PATH_WIDTH}}  {said}".rstrip())
        else:
            console.print(f"{path:<{_PATH_WIDTH}}   error {str(outcome).removeprefix(f'{path}: ')}", style="red")
        yield row
