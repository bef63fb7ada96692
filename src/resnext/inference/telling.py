"""Words on what long work is doing, for whoever shows them."""

from collections.abc import Callable

Tell = Callable[[str], object]


def untold(_: str) -> None:
    """Take what would be told, and say it to nobody."""
