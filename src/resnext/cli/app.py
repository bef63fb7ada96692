"""The `resnext` command and its subcommands."""

from typing import Annotated

import typer

from resnext import __version__
from resnext.cli.benchmark import benchmark
from resnext.cli.describe import describe
from resnext.cli.env import env
from resnext.cli.evaluate import evaluate
from resnext.cli.export import export
from resnext.cli.inspect import inspect
from resnext.cli.predict import predict
from resnext.cli.push import push
from resnext.cli.study import study
from resnext.cli.train import train

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # plain help loads in half the time
    epilog="RESNEXT_TRACEBACK=1 in the environment shows the traceback of an error.",
)


def _print_version(is_asked: bool) -> None:
    if is_asked:
        typer.echo(f"resnext {__version__}")
        raise typer.Exit


@app.callback()
def resnext(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """ResNeXt made whole: train an image classifier, score it, ask it, and look into the network."""


for command in (describe, inspect, train, evaluate, predict, export, benchmark, push, env):
    app.command()(command)
app.add_typer(study)
