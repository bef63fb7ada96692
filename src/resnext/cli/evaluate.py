"""`resnext evaluate`."""

import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from resnext.cli.options import ArtefactArgument, DataArgument, DeviceOption, DownloadOption, StrictOption

if TYPE_CHECKING:
    from collections.abc import Iterator

    from resnext.data.dataset import Data, Dataset
    from resnext.data.loader import Batch
    from resnext.evaluation.metrics import Scores
    from resnext.inference.classifier import Classifier

_ALL = "all"
_MOST_CONFUSED = 25


def evaluate(
    artefact: ArtefactArgument,
    data: DataArgument,
    split: Annotated[
        str | None,
        typer.Option(
            help="train, val, test or all. Left out: test, or val where there is none, if the data came with splits"
            " or is what the artefact was trained on; else all."
        ),
    ] = None,
    batch_size: Annotated[int, typer.Option(min=1, help="Images at a time; changes no score.")] = 64,
    device: DeviceOption = "auto",
    as_json: Annotated[bool, typer.Option("--json", help="Print the scores as one JSON object.")] = False,
    download: DownloadOption = False,
    strict: StrictOption = False,
) -> None:
    """Score an artefact on a data set.

    Errors, loss, every class, and what is taken for what.
    """
    from resnext.cli.console import messages
    from resnext.data.loader import Loading, evaluation_batches
    from resnext.data.open import open_data
    from resnext.data.views import under_classes
    from resnext.evaluation.evaluate import evaluate as score
    from resnext.inference.classifier import load

    classifier = load(artefact, device)
    opened = under_classes(open_data(data, download=download, strict=strict), classifier.class_names)
    name, dataset = _chosen(opened, split, classifier)
    problems = list(opened.problems)
    batches = evaluation_batches(dataset, classifier.preprocessing, Loading(batch_size=batch_size))
    scores = score(classifier.logits, _noting(batches, problems), classifier.class_names)
    for problem in problems:
        messages().print(f"  {problem}")
    if as_json:
        print(json.dumps({"artefact": str(artefact), "data": data, "split": name, **asdict(scores)}))
    else:
        _print_scores(scores, f"{opened.source}, {name}")


def _noting(batches: "Iterator[Batch]", problems: list[str]) -> "Iterator[Batch]":
    for batch in batches:
        problems.extend(batch.left_out)
        yield batch


def _chosen(data: "Data", split: str | None, classifier: "Classifier") -> tuple[str, "Dataset"]:
    from resnext.data.views import Joined

    if split is None:
        is_familiar = data.digest == classifier.manifest.provenance.data_digest
        held_out = "test" if "test" in data.splits else data.selection
        split = held_out if data.has_own_splits or is_familiar else _ALL
    return split, Joined(tuple(data.splits.values())) if split == _ALL else data.split(split)


def _print_scores(scores: "Scores", title: str) -> None:
    from resnext.cli.console import percent, results, table, thousands

    console = results()
    top5 = "" if scores.top5_error_percent is None else f", top-5 error {percent(scores.top5_error_percent)} %"
    classes = table("Classes", "class", "precision %", "recall %", "images")
    for row in scores.classes:
        classes.add_row(row.name, percent(row.precision_percent), percent(row.recall_percent), thousands(row.support))
    console.print(classes)
    if len(scores.classes) <= _MOST_CONFUSED:
        confusion = table("\nConfusion: a row for each true class", "", *(row.name for row in scores.classes))
        for row, counts in zip(scores.classes, scores.confusion, strict=True):
            confusion.add_row(row.name, *(str(count) if count else "." for count in counts))
        console.print(confusion)
    console.print(
        f"\n{title}: {thousands(scores.num_images)} images, top-1 error {percent(scores.top1_error_percent)} %{top5},"
        f" loss {scores.loss:.4f}"
    )
