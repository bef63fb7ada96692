"""Ctrl-C as a request: the first ends the work at the next good moment, the second ends it at once."""

import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Event
from types import FrameType


@contextmanager
def stop_request() -> Iterator[Event]:
    """Yield an event that the first Ctrl-C sets, saying so on standard error."""
    requested = Event()
    previous = signal.getsignal(signal.SIGINT)

    def request(number: int, frame: FrameType | None) -> None:
        requested.set()
        signal.signal(signal.SIGINT, previous)
        print("\nStopping after this step or scoring; Ctrl-C again stops at once.", file=sys.stderr, flush=True)

    signal.signal(signal.SIGINT, request)
    try:
        yield requested
    finally:
        signal.signal(signal.SIGINT, previous)
