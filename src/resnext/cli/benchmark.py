"""`resnext benchmark`."""

from typing import TYPE_CHECKING, Annotated, Literal

import typer

if TYPE_CHECKING:
    from resnext.model.network import Network


def benchmark(
    subject: Annotated[str, typer.Argument(help="A network's name, or weights: a file, hf:REPO, torchvision:WEIGHTS.")],
    forms: Annotated[
        bool, typer.Option("--forms", help="Time each grouped convolution in all its equivalent forms.")
    ] = False,
    engine: Annotated[
        Literal["torch", "onnxruntime", "openvino"], typer.Option(help="What computes the forms.")
    ] = "torch",
    batch_size: Annotated[int, typer.Option(min=1, help="Images at a time.")] = 1,
    image_size: Annotated[
        int | None, typer.Option(min=1, help="Pixels a side; the subject's own, or 224 (CIFAR stem: 32), if left out.")
    ] = None,
    threads: Annotated[int | None, typer.Option(min=1, help="Threads that compute. Default: torch's own.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print everything as one JSON object.")] = False,
) -> None:
    """Measure how fast a network is on this machine.

    Contestants run in turn, so that a busy machine slows all alike: trust ratios, not milliseconds. It computes on the
    CPU.
    """
    import torch

    from resnext.cli.layer_forms import Subject, show_layer_forms

    if not forms:
        raise typer.BadParameter("nothing to measure; give --forms")
    if threads is not None:
        torch.set_num_threads(threads)
    network, own_size = _open(subject)
    size = image_size or own_size
    example = torch.rand(batch_size, network.architecture.input_channels, size, size)
    show_layer_forms(Subject(subject, network, example, engine), as_json=as_json)


def _open(subject: str) -> "tuple[Network, int]":
    """Return a network in evaluation mode, with initial weights where it is only named, and its image size."""
    from resnext.artefact.address import names_weights
    from resnext.spec.architecture import architecture
    from resnext.spec.complexity import DEFAULT_IMAGE_SIZE

    if names_weights(subject):
        from resnext.artefact.weights import open_network

        network, manifest = open_network(subject)
        return network, manifest.preprocessing.image_size
    from resnext.model.forms import build

    named = architecture(subject)
    return build(named).eval(), DEFAULT_IMAGE_SIZE[named.stem]
