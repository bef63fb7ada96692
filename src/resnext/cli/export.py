"""`resnext export`."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from resnext.cli.options import ArtefactArgument, DownloadOption

if TYPE_CHECKING:
    from PIL import Image

    from resnext.artefact.manifest import Manifest
    from resnext.data.dataset import Data, Dataset, Picture
    from resnext.data.stream import Stream
    from resnext.inference.export import Images, Int8
    from resnext.inference.export_plan import Plan

_MOST_COMPARED, _MOST_CALIBRATING = 1000, 300


def export(
    artefact: ArtefactArgument,
    to: Annotated[
        Literal["onnx", "openvino", "torch", "torchvision", "timm"],
        typer.Option(help="A model of ONNX or OpenVINO, a program of torch.export, or the weights for a library."),
    ],
    out: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Where to. Left out: beside the artefact, under its name.")
    ] = None,
    data: Annotated[
        str | None,
        typer.Option(
            metavar="DATA",
            help=f"What is compared on: held-out images of such data as train takes, at most {_MOST_COMPARED:,}. Left"
            " out: crops of two photographs.",
        ),
    ] = None,
    precision: Annotated[
        Literal["fp32", "int8"],
        typer.Option(
            help="int8, for openvino, is calibrated on training images of --data and scored on the split that chooses."
        ),
    ] = "fp32",
    max_drop: Annotated[
        float | None,
        typer.Option(min=0, max=100, help="By how many points top-1 accuracy may fall in int8. Left out: 0.3."),
    ] = None,
    opset: Annotated[int | None, typer.Option(help="The opset of ONNX, 18 to 25. Left out: torch's choice.")] = None,
    download: DownloadOption = False,
) -> None:
    """Make a file for another runtime or library, and certify that it answers as the artefact does.

    Preprocessing and class names go with it; predict and evaluate take it too. Its own runtime computes it and both
    are compared: where they differ, no file is left. The certificate lies beside it, as FILE.json.
    """
    from rich.text import Text

    from resnext.cli.console import messages, results
    from resnext.data.open import open_data
    from resnext.inference.export import carry_out
    from resnext.inference.export_plan import plan_export

    is_int8 = precision == "int8"
    if is_int8 and data is None:
        raise typer.BadParameter("--precision int8 needs --data, to calibrate on and to see what it costs")
    if max_drop is not None and not is_int8:
        raise typer.BadParameter("--max-drop is for --precision int8; leave it out")
    plan = plan_export(artefact, to, out, opset=opset, precision=precision)
    with messages().status("Opening") as status:
        opened = open_data(data, download=download) if data is not None else None
        images = _held_out(opened, plan.manifest) if opened else None
        int8 = _int8(plan, opened, max_drop) if opened and is_int8 else None
        made = carry_out(plan, images, int8, lambda words: status.update(Text(words)))
    results().print(f"{made.path}: {made.words}; certificate: {made.certificate_path}")


def _held_out(opened: "Data", manifest: "Manifest") -> "Images":
    """Return the images that were held out of training, spread evenly over them where there are too many.

    That two files answer alike can be seen on any images; where it cannot be told which were held out, it is all.
    """
    from resnext.cli.held_out import called, held_out, images_of
    from resnext.inference.export import Images

    split = held_out(opened, manifest)
    return Images(called(opened, split, manifest), _spread(images_of(opened, split), _MOST_COMPARED))


def _int8(plan: "Plan", opened: "Data", max_drop: float | None) -> "Int8":
    """Return what int8 needs: training images to calibrate on, and the score on the split that chooses.

    Raises `DataError` where those that score may have been trained on: what int8 costs does not show on them.
    """
    from resnext.cli.held_out import called, is_trusted
    from resnext.data.dataset import DataError
    from resnext.data.replayed import Replayed
    from resnext.data.views import under_classes
    from resnext.evaluation.evaluate import evaluate
    from resnext.imaging.transform import normalise
    from resnext.inference.engine import Engine
    from resnext.inference.export import Int8
    from resnext.inference.quantise import MAX_DROP

    if not is_trusted(opened, plan.manifest):
        raise DataError(
            f"--precision int8: {opened.source} is not what the artefact was trained on and has no splits of its own,"
            " so that any of its images may have been trained on; put images that were not into val/ or test/"
        )
    seen, names = plan.manifest.preprocessing, plan.manifest.class_names
    known = under_classes(opened, names)
    batches = Replayed(known.split(known.selection), seen)

    def score(engine: Engine) -> float:
        scores = evaluate(lambda pixels: engine(normalise(pixels, seen)), batches, names)
        return 100 - scores.top1_error_percent

    return Int8(
        _spread(known.split("train"), _MOST_CALIBRATING),
        score,
        MAX_DROP if max_drop is None else max_drop,
        called(known, known.selection, plan.manifest),
    )


def _spread(dataset: "Dataset | Stream", most: int) -> "Iterator[Image.Image]":
    """Yield images that can be read, at most so many, from all over a data set, whose classes may lie in order."""
    from contextlib import suppress

    from resnext.data.dataset import Indexed
    from resnext.data.stream import Stream
    from resnext.imaging.decode import ImageError

    num_images = len(dataset.labels)
    shown = min(num_images, most)
    places = [place * num_images // shown for place in range(shown)]
    pictures: Iterator[Picture]
    if isinstance(dataset, Stream):
        wanted = frozenset(places)
        pictures = (sample for number, sample in enumerate(dataset.samples()) if number in wanted)
    else:
        pictures = (Indexed(dataset, index) for index in places)
    for picture in pictures:
        with suppress(ImageError):
            yield picture.image()
