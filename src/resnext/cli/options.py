"""Arguments and options that several commands share."""

from pathlib import Path
from typing import Annotated

import typer

DataArgument = Annotated[str, typer.Argument(help="digits, a folder of images, cifar10:ROOT or cifar100:ROOT.")]
ArtefactArgument = Annotated[Path, typer.Argument(help="A .safetensors file that training wrote.")]
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
