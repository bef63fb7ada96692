"""A trained network as a file of another runtime or library, kept only where it answers as the artefact does."""

from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import file_digest
from importlib.metadata import version
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from PIL import Image
from torch import Tensor

from resnext.artefact.address import names_weights
from resnext.artefact.sealed import digest_of, write_atomically
from resnext.artefact.weights import open_network
from resnext.imaging.decode import ImageError
from resnext.imaging.transform import normalise, stack
from resnext.inference import samples
from resnext.inference.certificate import Agreement, Certificate, Format, agreement
from resnext.inference.classifier import Classifier, ImageInput
from resnext.inference.exported import parts_of
from resnext.inference.formats import FORMATS, Subject, Writer
from resnext.inference.torch_engine import TorchEngine

_BATCH_SIZE = 16
_MOST_IMAGES = 1000


class ExportError(ValueError):
    """An export that is asked for in a way that cannot be; the message says why."""


class ParityError(ArithmeticError):
    """An export that does not answer as the artefact does, and is not kept; the message has the figures."""


@dataclass(frozen=True, slots=True)
class Images:
    """What artefact and file are compared on: images, as `Classifier.predict` takes them, and what to call them.

    The first 1,000 that can be read are used.
    """

    name: str
    images: Iterable[ImageInput]


@dataclass(frozen=True, slots=True)
class Exported:
    """An export that was kept: the file, its certificate, which lies beside it, and what was found in words."""

    path: Path
    certificate_path: Path
    certificate: Certificate
    words: str


def export(
    weights: str | Path,
    to: Format,
    out: str | Path | None = None,
    images: Images | None = None,
    opset: int | None = None,
) -> Exported:
    """Write trained weights as `onnx`, `openvino`, `torch` (a program), `torchvision` or `timm` (their state dicts).

    `weights` are those of `load`. The file is `out`, or has the name of the weights with the format's suffix, in the
    folder where they are. It holds preprocessing and class names, and takes batches of any number of normalised images.
    It is kept where its own runtime gives the artefact's answers on `images`, or on crops of two photographs if none
    are given: logits within 1e-4 of the largest, the same class for 99 % of images. What that found is in FILE.json.
    Raises `ParityError` where it does not; `ExportError`, a `ValueError`, where the arguments do not go together;
    `EngineError` where a library is missing or has no such network; `ArtefactError` as `load` does; `OSError` where it
    cannot be written. Whatever was there before is there still, then.
    """
    if to not in FORMATS:
        raise ExportError(f"to = {to!r}: allowed are {', '.join(FORMATS)}")
    if opset is not None and to != "onnx":
        raise ExportError(f"opset = {opset}: {to} has none; leave it out, or export to onnx")
    writer = FORMATS[to]
    path = _path(str(weights), writer, out)
    subject = Subject(*open_network(str(weights)), opset)
    shown = images or Images(samples.NAME, samples.sample_images())
    plain = Classifier(subject.manifest, TorchEngine(subject.network), torch.device("cpu"))
    with _beside(path) as folder:
        made = Path(folder) / path.name
        writer.write(subject, made)
        found = agreement(plain.engine, writer.run(subject, made), _batches(plain, shown.images))
        if not found.is_enough():
            raise ParityError(f"{path} is not written: it does not answer as {weights} does: {found.words()}")
        certificate = _certificate(to, subject, shown.name, found, parts_of(made))
        for part in parts_of(made):
            part.replace(path.with_name(part.name))
    beside = path.with_name(f"{path.name}.json")
    write_atomically(beside, (certificate.model_dump_json(indent=1) + "\n").encode())
    return Exported(path, beside, certificate, f"{found.words()}, as {certificate.runtime} computes it")


def _path(weights: str, writer: Writer, out: str | Path | None) -> Path:
    """Return where an export goes. Raises `ExportError` on a foreign suffix, or the weights' own path."""
    ending = f".{writer.suffix.rpartition('.')[2]}"
    if out is None:
        is_file = Path(weights).is_file()
        named = Path(weights) if is_file else Path(weights.rpartition(":")[2].replace("/", "-"))
        stem = named.stem if is_file and names_weights(weights) else named.name
        return named.with_name(stem + writer.suffix)
    path = Path(out)
    if path.suffix.lower() != ending:
        raise ExportError(f"out = {str(out)!r}: a file of this format ends in {ending}")
    if path.exists() and Path(weights).exists() and path.samefile(weights):
        raise ExportError(f"out = {str(out)!r}: the artefact itself; give another file")
    return path


def _beside(path: Path) -> TemporaryDirectory[str]:
    """Return a folder in which an export waits, on the disk on which it will lie. Raises `OSError`, a sentence."""
    try:
        return TemporaryDirectory(prefix=f".{path.name}.", dir=path.parent)
    except OSError as error:
        raise OSError(f"{path} could not be written: {error.strerror}") from None


def _batches(plain: Classifier, images: Iterable[ImageInput]) -> Iterator[Tensor]:
    """Yield the images that can be read as the network's input, in batches."""
    prepared = islice(_readable(plain, images), _MOST_IMAGES)
    while batch := list(islice(prepared, _BATCH_SIZE)):
        yield normalise(stack(batch), plain.preprocessing)


def _readable(plain: Classifier, images: Iterable[ImageInput]) -> Iterator[Image.Image]:
    for image in images:
        with suppress(ImageError):
            yield plain.prepare(image)


def _certificate(to: Format, subject: Subject, images: str, found: Agreement, parts: tuple[Path, ...]) -> Certificate:
    runtime = FORMATS[to].runtime
    return Certificate(
        format=to,
        runtime=f"{runtime} {version(runtime)}",
        files={part.name: _sha256(part) for part in parts},
        artefact=digest_of("", subject.network.state_dict()),
        images=images,
        num_images=found.num_images,
        num_agreeing=found.num_agreeing,
        largest_difference=found.largest_difference,
        largest_logit=found.largest_logit,
        versions={package: version(package) for package in ("resnext", "torch")},
        created=datetime.now(UTC).isoformat(timespec="seconds"),
    )


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return file_digest(file, "sha256").hexdigest()
