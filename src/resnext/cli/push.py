"""`resnext push`."""

from typing import Annotated

import typer


def push(
    artefact: Annotated[str, typer.Argument(help="A .safetensors file that training wrote.")],
    target: Annotated[str, typer.Argument(help="hf:USER/NAME, or a folder to write only: hf:./FOLDER or its path.")],
    license_: Annotated[
        str | None, typer.Option("--license", metavar="NAME", help="The licence on the card, such as apache-2.0.")
    ] = None,
    private: Annotated[bool, typer.Option("--private", help="Make a new repository private.")] = False,
) -> None:
    """Share an artefact on the Hugging Face hub, with a model card.

    Uploads as whoever is logged in there (hf auth login). What it uploads is resnext's and, where timm has the network,
    timm's to load.
    """
    from resnext.artefact.push import push as share
    from resnext.cli.console import messages, results

    pushed = share(artefact, target, license_name=license_, is_private=private)
    if pushed.keeps_card:
        messages().print("  README.md there was not written by push, or was edited since: it stays as it is")
    results().print(pushed.address)
