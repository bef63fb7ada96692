"""`resnext evaluate`."""

import json
from dataclasses import asdict
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from resnext.cli.options import ArtefactArgument, DataArgument, DeviceOption, DownloadOption, StrictOption

if TYPE_CHECKING:
    from resnext.data.dataset import Data, Dataset
    from resnext.evaluation.metrics import Scores
    from resnext.inference.classifier import Classifier
    from resnext.spec.preprocessing import Preprocessing
    from resnext.spec.protocol import ScoringProtocol

_ALL = "all"
_MOST_CONFUSED = 25


class Crops(StrEnum):
    """What of an image the network is shown."""

    single = "single"
    ten = "ten"
    dense = "dense"


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
    crops: Annotated[
        Crops, typer.Option(help="The central crop; ten crops; or dense: the whole image, at several scales.")
    ] = Crops.single,
    image_size: Annotated[int | None, typer.Option(min=1, help="Pixels a side of a crop; the artefact's own.")] = None,
    resize_size: Annotated[
        int | None, typer.Option(min=1, help="Pixels of the shorter side before cropping; in proportion.")
    ] = None,
    scales: Annotated[
        str | None, typer.Option(help="Shorter sides for dense, such as 224,256,320; those of the ResNet papers.")
    ] = None,
    batch_size: Annotated[int, typer.Option(min=1, help="Images at a time; changes no score.")] = 64,
    device: DeviceOption = "auto",
    as_json: Annotated[bool, typer.Option("--json", help="Print the scores as one JSON object.")] = False,
    download: DownloadOption = False,
    strict: StrictOption = False,
) -> None:
    """Score an artefact on a data set.

    Errors, loss, every class, and what is taken for what. Processes started by torchrun share the images.
    """
    from resnext.cli.console import messages
    from resnext.data.loader import Loading, view_batches
    from resnext.data.open import open_data
    from resnext.data.views import under_classes
    from resnext.evaluation.evaluate import mean_over_views
    from resnext.inference.classifier import load
    from resnext.training.scoring import score
    from resnext.training.world import join_world

    with join_world() as world:
        classifier = load(artefact, str(world.device(device)))
        protocol = _protocol(classifier.preprocessing, crops, (image_size, resize_size), scales)
        read = world.first_before_others(lambda: open_data(data, download=download, strict=strict))
        opened = under_classes(read, classifier.class_names)
        name, dataset = _chosen(opened, split, classifier)
        scores, left_out = score(
            world,
            mean_over_views(classifier.logits),
            dataset,
            lambda part: view_batches(part, protocol, Loading(batch_size=batch_size)),
            classifier.class_names,
        )
    for problem in (*opened.problems, *left_out):
        messages().print(f"  {problem}")
    named = {"artefact": str(artefact), "data": data, "split": name, "protocol": protocol.words()}
    if not world.is_first:
        return
    if as_json:
        print(json.dumps({**named, **asdict(scores)}))
    else:
        _print_scores(scores, f"{opened.source}, {name}, {protocol.words()}")


def _protocol(
    own: "Preprocessing", crops: Crops, sizes: tuple[int | None, int | None], scales: str | None
) -> "ScoringProtocol":
    """Return the protocol asked for. Raises `SpecError` where an option would have no effect."""
    from resnext.spec.protocol import DENSE_SCALES, ScoringProtocol
    from resnext.spec.value import SpecError

    image_size, resize_size = sizes
    if crops is Crops.dense:
        if image_size or resize_size:
            raise SpecError("--image-size and --resize-size: dense shows the whole image; give --scales instead")
        return ScoringProtocol(preprocessing=own, crops="dense", scales=_numbers(scales) if scales else DENSE_SCALES)
    size = image_size or own.image_size
    resized = resize_size or round(size * own.resize_size / own.image_size)
    preprocessing = own.replace(image_size=size, resize_size=resized)
    return ScoringProtocol(preprocessing=preprocessing, crops=crops.value, scales=_numbers(scales) if scales else ())


def _numbers(scales: str) -> tuple[int, ...]:
    from resnext.spec.value import SpecError

    try:
        return tuple(int(scale) for scale in scales.split(","))
    except ValueError:
        raise SpecError(f"--scales {scales!r}: give whole numbers of pixels with commas between, 224,256,320") from None


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
