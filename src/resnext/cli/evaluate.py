"""`resnext evaluate`."""

import json
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer

from resnext.cli.held_out import held_out, images_of
from resnext.cli.options import (
    ENGINE_HELP,
    ClassifierArgument,
    DataArgument,
    DeviceOption,
    DownloadOption,
    Engine,
    PrecisionOption,
    QuarantineOption,
    StrictOption,
    probability,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from resnext.cli.abstention import Abstentions
    from resnext.data.dataset import Dataset
    from resnext.data.loader import Loading
    from resnext.data.stream import Stream
    from resnext.evaluation.answers import Answers
    from resnext.evaluation.metrics import Scores
    from resnext.inference.classifier import Classifier
    from resnext.spec.preprocessing import Preprocessing
    from resnext.spec.protocol import ScoringProtocol
    from resnext.training.world import World

_MOST_CONFUSED = 25
_ONLY_CROPS = ("--image-size", "--resize-size", "--batch-size")
_ONLY_DENSE = ("--scales",)


class Crops(StrEnum):
    """What of an image the network is shown."""

    single = "single"
    ten = "ten"
    dense = "dense"


def evaluate(
    artefact: ClassifierArgument,
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
    image_size: Annotated[
        int | None, typer.Option(min=1, help="Pixels a side of a crop. Left out: the artefact's own.")
    ] = None,
    resize_size: Annotated[
        int | None,
        typer.Option(min=1, help="Pixels of the shorter side before cropping. Left out: in the artefact's proportion."),
    ] = None,
    scales: Annotated[
        str | None,
        typer.Option(
            help="Shorter sides for dense. Left out: 224,256,384,480,640 for crops of 224, else in proportion."
        ),
    ] = None,
    batch_size: Annotated[
        int | None, typer.Option(min=1, help="Images at a time; changes no score. Left out: 64; dense takes one.")
    ] = None,
    target_precision: Annotated[
        str | None,
        typer.Option(
            metavar="Q",
            help="Find on val the probability from which on answers have this precision, 0.99 or 99%; say what it"
            " costs there and on test.",
        ),
    ] = None,
    device: DeviceOption = "auto",
    engine: Annotated[
        Engine | None, typer.Option(help=f"{ENGINE_HELP} Left out: torch, or an exported file's own.")
    ] = None,
    precision: PrecisionOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the scores as one JSON object.")] = False,
    download: DownloadOption = False,
    strict: StrictOption = False,
    quarantine: QuarantineOption = None,
) -> None:
    """Score an artefact on a data set.

    Errors, loss, every class, what is taken for what, and whether probabilities mean what they say. Processes started
    by torchrun share the images.
    """
    from resnext.cli.abstention import find_threshold, print_abstentions, splits_for_a_threshold
    from resnext.data.loader import Loading
    from resnext.data.open import open_data
    from resnext.data.views import under_classes
    from resnext.inference.load import device_for, load
    from resnext.training.world import join_world

    sizes = {"--image-size": image_size, "--resize-size": resize_size, "--batch-size": batch_size}
    _refuse_unfit(crops, engine, {**sizes, "--scales": scales})
    loading = Loading(batch_size=batch_size) if batch_size else Loading()
    target = probability(target_precision, "--target-precision") if target_precision is not None else None
    with join_world() as world:
        place = str(world.device(device_for(artefact, device)))
        classifier = world.first_before_others(lambda: load(artefact, place, engine, precision, loading.batch_size))
        protocol = _protocol(classifier.preprocessing, crops, (image_size, resize_size), scales)
        read = world.first_before_others(
            lambda: open_data(data, download=download, strict=strict, quarantine=quarantine)
        )
        opened = under_classes(read, classifier.class_names)
        name = split or held_out(opened, classifier.manifest)
        others = splits_for_a_threshold(opened, classifier.manifest) if target else ()
        found = {
            each: _examine(world, classifier, images_of(opened, each), protocol, loading)
            for each in dict.fromkeys((name, *others))
        }
    _print_notes(classifier, [*opened.problems, *(line for one in found.values() for line in one.left_out)])
    if not world.is_first:
        return
    abstentions = find_threshold(target, {each: found[each].answers for each in others}) if target else None
    if as_json:
        named = {"artefact": artefact, "data": data, "split": name, "protocol": protocol.words()}
        print(json.dumps({**named, **_plain(found[name], abstentions)}))
    else:
        _print_scores(found[name], f"{opened.source}, {name}, {protocol.words()}")
        print_abstentions(abstentions)


def _print_notes(classifier: "Classifier", problems: "Iterable[str]") -> None:
    """Say which engine was chosen, if one was, and each problem once."""
    from resnext.cli.console import messages

    chosen = [classifier.choice.words()] if classifier.choice else []
    for note in dict.fromkeys([*chosen, *problems]):
        messages().print(f"  {note}")


@dataclass(frozen=True)
class _Examined:
    """What was found on one split; `temperature` is None where the artefact was not calibrated."""

    scores: "Scores"
    answers: "Answers"
    temperature: float | None
    left_out: tuple[str, ...]


def _examine(
    world: "World",
    classifier: "Classifier",
    dataset: "Dataset | Stream",
    protocol: "ScoringProtocol",
    loading: "Loading",
) -> _Examined:
    """Score a classifier, and keep how sure it is of each image; every process gets all of it."""
    from resnext.data.loader import view_batches
    from resnext.evaluation.answers import Answers, count_and_keep
    from resnext.evaluation.evaluate import mean_over_views
    from resnext.evaluation.metrics import Scores
    from resnext.training.scoring import in_parts, total

    predict, names = mean_over_views(classifier.logits), classifier.class_names
    (counts, answers), left_out = in_parts(
        world,
        dataset,
        lambda part: view_batches(part, protocol, loading),
        lambda part: count_and_keep(predict, part, len(names), classifier.temperature),
    )
    return _Examined(
        scores=Scores.of(total(world, counts), names),
        answers=Answers.joined(world.gather(answers)),
        temperature=classifier.temperature if classifier.manifest.calibration else None,
        left_out=left_out,
    )


def _refuse_unfit(crops: Crops, engine: Engine | None, given: "Mapping[str, object]") -> None:
    """Raise `SpecError` on an option that would do nothing with such crops, or an engine that does not fit them."""
    from resnext.spec.value import SpecError

    if crops is Crops.dense and engine == "compiled":
        raise SpecError("--engine compiled would compile anew for each shape that --crops dense shows; use torch")
    for option in _ONLY_CROPS if crops is Crops.dense else _ONLY_DENSE:
        if given[option] is not None:
            instead = "shows whole images, one at a time, at --scales" if crops is Crops.dense else "has no scales"
            raise SpecError(f"{option} {given[option]} would do nothing: --crops {crops} {instead}; leave it out")


def _protocol(
    own: "Preprocessing", crops: Crops, sizes: tuple[int | None, int | None], scales: str | None
) -> "ScoringProtocol":
    from resnext.spec.protocol import ScoringProtocol

    if crops is Crops.dense:
        if scales is None:
            return ScoringProtocol.dense(own)
        return ScoringProtocol(preprocessing=own, crops="dense", scales=_numbers(scales))
    image_size = sizes[0] or own.image_size
    resize_size = sizes[1] or round(image_size * own.resize_size / own.image_size)
    preprocessing = own.replace(image_size=image_size, resize_size=resize_size)
    return ScoringProtocol(preprocessing=preprocessing, crops=crops.value)


def _numbers(scales: str) -> tuple[int, ...]:
    from resnext.spec.value import SpecError

    try:
        return tuple(int(scale) for scale in scales.split(","))
    except ValueError:
        raise SpecError(f"--scales {scales!r}: give whole numbers of pixels with commas between, 224,256,320") from None


def _plain(found: _Examined, abstentions: "Abstentions | None") -> dict[str, Any]:
    calibration = {
        "temperature": found.temperature,
        "ece_percent": found.answers.ece_percent,
        "raw_ece_percent": found.answers.raw_ece_percent,
    }
    asked = {"abstention": abstentions.plain()} if abstentions else {}
    return {**asdict(found.scores), "calibration": calibration, **asked}


def _print_scores(found: _Examined, title: str) -> None:
    from resnext.cli.console import results, table, thousands
    from resnext.report.words import percent

    console, scores = results(), found.scores
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
        f" loss {scores.loss:.4f}, {_certainty(found)}"
    )


def _certainty(found: _Examined) -> str:
    from resnext.report.words import percent

    raw = percent(found.answers.raw_ece_percent)
    if found.temperature is None:
        return f"expected calibration error {raw} % (not calibrated)"
    return f"expected calibration error {percent(found.answers.ece_percent)} % ({raw} % before calibration)"
