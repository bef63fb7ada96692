"""`resnext export`."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from resnext.cli.options import ArtefactArgument, DownloadOption

if TYPE_CHECKING:
    from PIL import Image

    from resnext.data.dataset import Dataset, Picture
    from resnext.data.stream import Stream
    from resnext.inference.export import Images

_MOST_IMAGES = 1000


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
            help=f"What is compared on: held-out images of such data as train takes, at most {_MOST_IMAGES:,}. Left"
            " out: crops of two photographs.",
        ),
    ] = None,
    opset: Annotated[int | None, typer.Option(help="The opset of ONNX, 18 to 25. Left out: torch's choice.")] = None,
    download: DownloadOption = False,
) -> None:
    """Make a file for another runtime or library, and certify that it answers as the artefact does.

    Preprocessing and class names go with it; predict and evaluate take it too. Its own runtime computes it and both
    are compared: where they differ, no file is left. The certificate lies beside it, as FILE.json.
    """
    from resnext.cli.console import messages, results
    from resnext.inference.export import export as make

    images = _held_out(data, download=download) if data is not None else None
    with messages().status("Exporting and comparing"):
        made = make(artefact, to, out, images, opset)
    results().print(f"{made.path}: {made.words}; certificate: {made.certificate_path}")


def _held_out(data: str, *, download: bool) -> "Images":
    """Return the images of data that were held out of training, spread evenly over them where there are too many."""
    from resnext.data.open import open_data
    from resnext.inference.export import Images

    opened = open_data(data, download=download)
    split = "test" if "test" in opened.splits else opened.selection
    return Images(f"{opened.source}, {split}", _spread(opened.split(split)))


def _spread(dataset: "Dataset | Stream") -> "Iterator[Image.Image]":
    from contextlib import suppress

    from resnext.data.dataset import Indexed
    from resnext.data.stream import Stream
    from resnext.imaging.decode import ImageError

    num_images = len(dataset.labels)
    step = -(-num_images // _MOST_IMAGES)
    pictures: Iterator[Picture]
    if isinstance(dataset, Stream):
        pictures = (sample for number, sample in enumerate(dataset.samples()) if number % step == 0)
    else:
        pictures = (Indexed(dataset, index) for index in range(0, num_images, step))
    for picture in pictures:
        with suppress(ImageError):
            yield picture.image()
