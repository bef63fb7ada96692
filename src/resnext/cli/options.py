"""Arguments and options that several commands share."""

import math
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Annotated, Literal

import typer

DataArgument = Annotated[
    str,
    typer.Argument(
        help="digits, a folder of images, a .csv, .tsv or .jsonl list, cifar10:ROOT, cifar100:ROOT, hf:NAME_OR_PATH or"
        " wds:SHARDS."
    ),
]
ArtefactArgument = Annotated[
    str, typer.Argument(help="A .safetensors file that training wrote, hf:REPO or torchvision:WEIGHTS.")
]
ClassifierArgument = Annotated[
    str,
    typer.Argument(
        help="A .safetensors file that training wrote, hf:REPO, torchvision:WEIGHTS, or a file that export made.",
    ),
]
Engine = Literal["auto", "torch", "compiled", "onnxruntime", "openvino"]
ENGINE_HELP = "What computes; auto is the quickest that is installed, other than compiled."
PrecisionOption = Annotated[
    Literal["fp32", "bf16", "int8"] | None,
    typer.Option(
        help="bf16 where the processor has it; int8 of a network that export has quantised. Left out: fp32, or an"
        " exported file's own."
    ),
]
DeviceOption = Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:N or mps.")]
ThreadsOption = Annotated[
    int | None,
    typer.Option(min=0, help="Threads that load images; 0: the training thread does it. Default: as pays."),
]
StrictOption = Annotated[bool, typer.Option("--strict", help="Stop where an image has a problem.")]
QuarantineOption = Annotated[
    Path | None, typer.Option(metavar="FILE", help="A list of images to leave out, such as inspect writes.")
]
DownloadOption = Annotated[bool, typer.Option("--download", help="Fetch CIFAR where it is missing.")]


def probability(text: str, option: str, *, allows_one: bool = False) -> float:
    """Read a number between 0 and 1, or percent such as 99%. Raises `ValueError` on anything else."""
    number, percent, rest = text.strip().partition("%")
    try:
        value = float(Decimal(number) / (100 if percent else 1))
    except InvalidOperation:
        value = math.nan
    if rest or not (0 < value < 1 or (allows_one and value == 1)):
        raise ValueError(f"{option} {text}: give a number between 0 and 1, such as 0.99, or percent, such as 99%")
    return value
