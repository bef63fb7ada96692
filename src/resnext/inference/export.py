"""A trained network as a file of another runtime or library, kept only where it answers as the artefact does."""

from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import file_digest
from importlib import import_module
from importlib.metadata import version
from itertools import islice
from pathlib import Path
from typing import cast

import torch
from PIL import Image
from torch import Tensor

from resnext.artefact.sealed import digest_of, write_atomically
from resnext.imaging.decode import ImageError
from resnext.imaging.transform import normalise, stack
from resnext.inference import samples
from resnext.inference.certificate import Agreement, Certificate, Format, agreement
from resnext.inference.classifier import Classifier, ImageInput
from resnext.inference.engine import Engine
from resnext.inference.export_plan import ExportError, Plan, folder_beside, move_together, plan_export
from resnext.inference.exported import parts_of
from resnext.inference.formats import FORMATS, Gate, Subject
from resnext.inference.quantise import MAX_DROP, ROUNDING, Cost, DropError, Score
from resnext.inference.telling import Tell, untold
from resnext.inference.torch_engine import TorchEngine

_BATCH_SIZE = 16
_MOST_IMAGES = 1000


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
class Int8:
    """What int8 needs: images like those that the network will see, the first 300 of which count, and a gate.

    `score` takes an engine, from normalised images to logits, and returns its top-1 accuracy in percent on others; it
    may fall by `max_drop` points. `scored_on` names those for the certificate.
    """

    calibration: Iterable[ImageInput]
    score: Score
    max_drop: float = MAX_DROP
    scored_on: str | None = None


@dataclass(frozen=True, slots=True)
class Exported:
    """An export that was kept: the file, its certificate, which lies beside it, and what was found in words."""

    path: Path
    certificate_path: Path
    certificate: Certificate
    words: str


def export(  # noqa: PLR0913 - the last two belong to one format each
    weights: str | Path,
    to: Format,
    out: str | Path | None = None,
    images: Images | None = None,
    *,
    opset: int | None = None,
    int8: Int8 | None = None,
) -> Exported:
    """Write trained weights as `onnx`, `openvino`, `torch` (a program), `torchvision` or `timm` (their state dicts).

    `weights` are those of `load`. The file is `out`, or has the name of the weights with the format's suffix, in the
    folder where they are. It holds preprocessing and class names, and takes batches of any number of normalised images.
    It is kept where its own runtime gives the artefact's answers on `images`, or on crops of two photographs if none
    are given: logits within 1e-4 of the largest, the same class for 99 % of images. What that found is in FILE.json.
    With `int8`, for OpenVINO alone, it is kept where top-1 accuracy falls no further than that allows, and both answers
    are compared too. `opset` is for ONNX.
    Raises `ParityError` where it is not kept; `ExportError`, a `ValueError`, where the arguments do not go together;
    `EngineError` where a library is missing or has no such network; `ArtefactError` as `load` does; `OSError` where it
    cannot be written. Whatever was there before is there still, then.
    """
    plan = plan_export(weights, to, out, opset=opset, precision="fp32" if int8 is None else "int8")
    return carry_out(plan, images, int8)


def carry_out(plan: Plan, images: Images | None = None, int8: Int8 | None = None, tell: Tell = untold) -> Exported:
    """Write what was planned, and keep it, as `export` does; `tell` is told what is being done.

    Raises `ExportError` where `int8` is missing or not what was planned, and else as `export` does.
    """
    if (plan.precision == "int8") != (int8 is not None):
        raise ExportError(f"precision = {plan.precision!r}: int8= is for 'int8', and needed there")
    plain = Classifier(plan.manifest, TorchEngine(plan.network), torch.device("cpu"))
    gate = None if int8 is None else Gate(_batches(plain, int8.calibration), int8.score, int8.max_drop, tell)
    subject = Subject(plan.network, plan.manifest, plan.opset, gate)
    shown = images or Images(samples.NAME, samples.sample_images())
    with folder_beside(plan.path) as folder:
        made = Path(folder) / plan.path.name
        tell(f"Writing {plan.path.name}")
        cost = _written(plan, subject, made)
        run = FORMATS[plan.to].run(subject, made)
        tell(f"Comparing on {shown.name}")
        found = agreement(plain.engine, run, _batches(plain, shown.images), shown.name)
        if gate is not None:
            tell("Scoring the file")
        if not (found.is_enough() if gate is None else _holds(gate, cost, cast(Engine, run))):
            raise ParityError(f"{plan.path} is not written: it does not answer as {plan.weights} does: {found.words()}")
        certificate = _certificate(plan.to, subject, found, parts_of(made), cost)
        if int8 is not None:
            certificate = certificate.replace(scored_on=int8.scored_on)
        beside = made.with_name(f"{made.name}.json")
        write_atomically(beside, (certificate.model_dump_json(indent=1) + "\n").encode())
        move_together((*parts_of(made), beside), plan.path.parent)
    on = f" on {int8.scored_on}" if int8 and int8.scored_on else ""
    in_int8 = f"{cost.words()}{on}; " if cost else ""
    words = f"{in_int8}{found.words()} on {shown.name}, as {certificate.runtime} computes it"
    return Exported(plan.path, plan.path.with_name(beside.name), certificate, words)


def _written(plan: Plan, subject: Subject, path: Path) -> Cost | None:
    """Write a file. Raises `ParityError` where int8 costs more than is allowed."""
    try:
        return FORMATS[plan.to].write(subject, path)
    except DropError as error:
        raise ParityError(f"{path.name} is not written: {error}") from None


def _holds(gate: Gate, cost: Cost | None, run: Engine) -> bool:
    """Tell whether int8 still scores as is allowed when its own runtime computes it from the file."""
    return cost is not None and cost.fp32_top1_percent - gate.score(run) <= gate.max_drop + ROUNDING


def _batches(plain: Classifier, images: Iterable[ImageInput]) -> Iterator[Tensor]:
    """Yield the images that can be read as the network's input, in batches."""
    prepared = islice(_readable(plain, images), _MOST_IMAGES)
    while batch := list(islice(prepared, _BATCH_SIZE)):
        yield normalise(stack(batch), plain.preprocessing)


def _readable(plain: Classifier, images: Iterable[ImageInput]) -> Iterator[Image.Image]:
    for image in images:
        with suppress(ImageError):
            yield plain.prepare(image)


def _certificate(
    to: Format, subject: Subject, found: Agreement, parts: tuple[Path, ...], cost: Cost | None
) -> Certificate:
    runtime = FORMATS[to].runtime
    return Certificate(
        format=to,
        runtime=f"{runtime} {import_module(runtime).__version__.partition('-')[0]}",  # OpenVINO adds its build
        files={part.name: _sha256(part) for part in parts},
        artefact=digest_of("", subject.network.state_dict()),
        agreement=found,
        int8=cost,
        versions={"resnext": version("resnext"), "torch": torch.__version__},
        created=datetime.now(UTC).isoformat(timespec="seconds"),
    )


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return file_digest(file, "sha256").hexdigest()
