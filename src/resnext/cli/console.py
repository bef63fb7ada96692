"""Where commands print: results on standard output, everything else on standard error."""

import os
import sys
from io import TextIOWrapper
from typing import TextIO

from rich.console import Console
from rich.table import Table

_WIDTH_OF_FILES = 110


def results() -> Console:
    """Return the console of results. Names of files go out as they came in, in an old encoding too."""
    if isinstance(sys.stdout, TextIOWrapper):
        sys.stdout.reconfigure(errors="surrogateescape")
    return _console(sys.stdout)


def messages() -> Console:
    """Return the console of messages and progress."""
    return _console(sys.stderr)


def _console(stream: TextIO) -> Console:
    """Make a console that prints names as they are, and breaks no line that is not a table's.

    Of the processes that `torchrun` starts, the first speaks for all.
    """
    width = None if stream.isatty() else _WIDTH_OF_FILES
    is_quiet = os.environ.get("RANK", "0") != "0"
    return Console(file=stream, width=width, quiet=is_quiet, highlight=False, markup=False, emoji=False, soft_wrap=True)


def table(title: str, *columns: str) -> Table:
    """Make a table whose columns are right-aligned but for the first."""
    made = Table(title=title, title_justify="left", box=None, pad_edge=False, header_style="bold", title_style="bold")
    for number, column in enumerate(columns):
        made.add_column(column, justify="left" if number == 0 else "right", no_wrap=number > 0)
    return made


def thousands(value: int) -> str:
    """Print a whole number with its thousands set apart."""
    return f"{value:,}"
