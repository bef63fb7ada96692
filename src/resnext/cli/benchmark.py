"""`resnext benchmark`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

if TYPE_CHECKING:
    from resnext.inference.contestants import Contestant
    from resnext.model.network import Network

_PICTURES = (".png", ".svg")


def benchmark(
    subject: Annotated[
        str,
        typer.Argument(help="A network's name, weights (a file, hf:REPO, torchvision:WEIGHTS), or an exported file."),
    ],
    files: Annotated[
        list[Path] | None,
        typer.Argument(metavar="FILE", help="More exported files (.onnx, .xml, .pt2) of it, a row for each."),
    ] = None,
    forms: Annotated[
        bool, typer.Option("--forms", help="Time each grouped convolution in all its equivalent forms instead.")
    ] = False,
    engine: Annotated[
        Literal["torch", "onnxruntime", "openvino"] | None,
        typer.Option(help="What computes the forms. Left out: torch."),
    ] = None,
    batch_size: Annotated[int, typer.Option(min=1, help="Images at a time.")] = 1,
    image_size: Annotated[
        int | None, typer.Option(min=1, help="Pixels a side; the subject's own, or 224 (CIFAR stem: 32), if left out.")
    ] = None,
    threads: Annotated[int | None, typer.Option(min=1, help="Threads that compute. Default: torch's own.")] = None,
    compiled: Annotated[
        bool, typer.Option("--compiled", help="Compile too, which takes up to a minute for each that is.")
    ] = False,
    memory: Annotated[
        bool, typer.Option("--memory/--no-memory", help="Measure memory, in a new process for each, some seconds long.")
    ] = True,
    picture: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Draw the table too, as a .png or an .svg.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print everything as one JSON object.")] = False,
) -> None:
    """Measure how fast a network is on this machine.

    Every engine that is installed stands beside torchvision's and timm's same network. Contestants run in turn, so
    that a busy machine slows all alike: trust ratios, not milliseconds. It computes on the CPU.
    """
    if engine and not forms:
        raise typer.BadParameter("--engine says what computes the --forms; the table without them has every engine")
    _check_options(forms=forms, compiled=compiled, memory=memory, picture=picture)
    import torch

    if threads is not None:
        torch.set_num_threads(threads)
    network, own_size, rows = _open(subject, files or [])
    size = image_size or own_size
    example = torch.rand(batch_size, network.architecture.input_channels, size, size)
    if forms:
        if rows:
            raise typer.BadParameter("--forms times the layers of a name or of weights; leave exported files out")
        from resnext.cli.layer_forms import Case, show_layer_forms

        show_layer_forms(Case(subject, network, example, engine or "torch"), as_json=as_json)
        return
    from resnext.cli.speed_table import Wanted, show_speed
    from resnext.inference.contestants import Workload

    wanted = Wanted(files=rows, compiled=compiled, with_memory=memory, picture=picture, as_json=as_json)
    show_speed(subject, Workload(network, example), wanted)


def _check_options(*, forms: bool, compiled: bool, memory: bool, picture: Path | None) -> None:
    """Refuse what would do nothing, and before minutes of measuring, a picture that could not be written."""
    if forms and (compiled or not memory or picture):
        raise typer.BadParameter("--compiled, --no-memory and --picture belong to the table without --forms")
    if picture is None:
        return
    if picture.suffix.lower() not in _PICTURES:
        raise typer.BadParameter(f"--picture {picture}: the name of a picture ends in {' or '.join(_PICTURES)}")
    if not picture.absolute().parent.is_dir():
        raise typer.BadParameter(f"--picture {picture}: there is no folder {picture.parent}")


def _open(subject: str, files: list[Path]) -> "tuple[Network, int, tuple[Contestant, ...]]":
    """Return a network in evaluation mode, its image size, and exported files as contestants, the subject among them.

    It has initial weights where the subject is a name, or an exported file, whose weights are its runtime's alone.
    """
    from resnext.inference.contestants import is_exported, open_file

    for path in files:
        if not is_exported(path):
            raise typer.BadParameter(
                f"{path}: only what resnext export made (.onnx, .xml, .pt2) may follow the subject"
            )
    if not is_exported(subject):
        network, image_size, has_weights = _open_network(subject)
        return network, image_size, tuple(_row(path, network, has_same_weights=has_weights) for path in files)
    from resnext.model.forms import build

    row, manifest = open_file(Path(subject), has_same_weights=False)
    network = build(manifest.architecture).eval()
    others = [_row(path, network, has_same_weights=False) for path in files]
    return network, manifest.preprocessing.image_size, (row, *others)


def _open_network(subject: str) -> "tuple[Network, int, bool]":
    """Return a network, its image size, and whether it has the weights of a file."""
    from resnext.artefact.address import names_weights
    from resnext.spec.architecture import architecture
    from resnext.spec.complexity import DEFAULT_IMAGE_SIZE

    if names_weights(subject):
        from resnext.artefact.weights import open_network

        network, manifest = open_network(subject)
        return network, manifest.preprocessing.image_size, True
    from resnext.model.forms import build

    named = architecture(subject)
    return build(named).eval(), DEFAULT_IMAGE_SIZE[named.stem], False


def _row(path: Path, network: "Network", *, has_same_weights: bool) -> "Contestant":
    """Return an exported file of a network as a contestant; refuse one of another network."""
    from resnext.inference.contestants import open_file

    row, manifest = open_file(path, has_same_weights=has_same_weights)
    held, shown = manifest.architecture, network.architecture
    if held != shown:
        raise typer.BadParameter(
            f"{path} holds {held.name} with {held.num_classes} classes, not the subject's network, {shown.name} with"
            f" {shown.num_classes}; measure it by itself"
        )
    return row
