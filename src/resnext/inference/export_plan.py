"""What is to be exported, and where to, seen to before any image is decoded."""

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from mmap import ACCESS_READ, mmap
from pathlib import Path, PurePath
from tempfile import TemporaryDirectory

from resnext.artefact.manifest import Manifest
from resnext.artefact.weights import open_network
from resnext.inference.certificate import Format
from resnext.inference.engine import Precision
from resnext.inference.exported import MANIFEST, parts_of
from resnext.inference.formats import FORMATS, Writer
from resnext.inference.onnxruntime_engine import check_opset
from resnext.inference.quantise import nncf_module
from resnext.model.network import Network


class ExportError(ValueError):
    """An export that is asked for in a way that cannot be; the message says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """An export that can begin: trained weights, opened, under the name that the user gave them, and where they go."""

    weights: str
    network: Network
    manifest: Manifest
    to: Format
    path: Path
    opset: int | None = None
    precision: Precision = "fp32"


def plan_export(
    weights: str | Path,
    to: Format,
    out: str | Path | None = None,
    *,
    opset: int | None = None,
    precision: Precision = "fp32",
) -> Plan:
    """Open trained weights to be exported, after all has been seen to that can be without an image.

    The arguments are those of `export`, and `precision` is fp32 or int8. Raises `ExportError` where they do not go
    together, `EngineError` where a library is missing or has no such network, `ArtefactError` as `load` does, and
    `OSError` where nothing can be written there.
    """
    _check_fit(to, opset, precision)
    writer, name = FORMATS[to], str(weights)
    path = _path(name, writer, out)
    writer.check_installed()
    if precision == "int8":
        nncf_module()
    folder_beside(path).cleanup()
    network, manifest = open_network(name)
    writer.check_network(manifest.architecture)
    return Plan(weights=name, network=network, manifest=manifest, to=to, path=path, opset=opset, precision=precision)


def _check_fit(to: Format, opset: int | None, precision: Precision) -> None:
    """Raise `ExportError` where there is no such format, or it takes no such argument."""
    if to not in FORMATS:
        raise ExportError(f"to = {to!r}: allowed are {', '.join(FORMATS)}")
    if precision not in ("fp32", "int8"):
        raise ExportError(f"precision = {precision!r}: allowed are fp32 and int8")
    if opset is not None and to != "onnx":
        raise ExportError(f"opset = {opset}: {to} has none; leave it out, or export to onnx")
    if precision == "int8" and to != "openvino":
        raise ExportError(f"int8 to {to}: OpenVINO alone computes in it here; export to openvino")
    check_opset(opset)


def _path(weights: str, writer: Writer, out: str | Path | None) -> Path:
    """Return where an export goes.

    Raises `ExportError` on a foreign suffix, a folder, the weights' own path, or where a part of it would take the
    place of a file that no export wrote.
    """
    source, ending = Path(weights).expanduser(), f".{writer.suffix.rpartition('.')[2]}"
    if out is not None:
        path = Path(out).expanduser()
    elif source.is_file():
        path = source.with_name(source.stem + writer.suffix)
    else:
        path = Path(PurePath(weights.rpartition(":")[2]).name + writer.suffix)
    if path.suffix.lower() != ending:
        raise ExportError(f"out = {str(out)!r}: a file of this format ends in {ending}")
    if path.is_dir():
        raise ExportError(f"out = {str(path)!r}: a folder; give a file")
    if path.exists() and source.exists() and path.samefile(source):
        raise ExportError(f"out = {str(out)!r}: the artefact itself; give another file")
    for part in parts_of(path)[:-1]:
        if part.exists() and not _is_exported(path):
            raise ExportError(
                f"out = {str(path)!r}: {part.name}, which would be written too, is there and of something else; give"
                " another name"
            )
    return path


def _is_exported(path: Path) -> bool:
    """Tell whether a file is there that has a manifest inside, as those do that an export wrote."""
    if not path.is_file() or path.stat().st_size == 0:
        return False
    with path.open("rb") as file, mmap(file.fileno(), 0, access=ACCESS_READ) as content:
        return content.find(MANIFEST.encode()) >= 0


def folder_beside(path: Path) -> TemporaryDirectory[str]:
    """Return a folder in which an export waits, on the disk on which it will lie. Raises `OSError`, a sentence."""
    try:
        return TemporaryDirectory(prefix=f".{path.name}.", dir=path.parent)
    except OSError as error:
        raise OSError(f"{path} could not be written: {error.strerror}") from None


def move_together(parts: Sequence[Path], folder: Path) -> None:
    """Move files that belong together from where they wait into a folder, over files of their names there.

    Those that name others come last. The old ones leave in the opposite order before the first new one comes, so that
    old and new are never together; they are put back where anything fails. Raises `OSError`, a sentence.
    """
    try:
        with ExitStack() as undo:
            for part in reversed(parts):
                there, aside = folder / part.name, part.with_name(f"{part.name}.before")
                if there.exists():
                    there.replace(aside)
                    undo.callback(aside.replace, there)
            for part in parts:
                undo.callback((folder / part.name).unlink, missing_ok=True)
                part.replace(folder / part.name)
            undo.pop_all()
    except OSError as error:
        raise OSError(f"{folder / parts[-1].name} could not be written: {error.strerror}") from None
