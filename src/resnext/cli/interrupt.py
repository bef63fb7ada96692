"""Ctrl-C and SIGTERM as a request: the first ends the work at the next good moment, a second Ctrl-C at once."""

import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType

_SIGNALS = (signal.SIGINT, signal.SIGTERM)
_STATUS_OF_SIGNAL = 128


@dataclass(slots=True)
class StopRequest:
    """Which signal asked to stop; None while none has."""

    signal: int | None = None

    def is_set(self) -> bool:
        """Whether a signal has asked to stop."""
        return self.signal is not None

    @property
    def status(self) -> int:
        """The exit status by the shell's convention: 130 after Ctrl-C, 143 after SIGTERM."""
        return _STATUS_OF_SIGNAL + (self.signal or 0)


@contextmanager
def stop_request(*, speaks: bool = True) -> Iterator[StopRequest]:
    """Yield a request that the first Ctrl-C or SIGTERM sets, saying so on standard error."""
    request = StopRequest()
    previous = {number: signal.getsignal(number) for number in _SIGNALS}

    def ask(number: int, frame: FrameType | None) -> None:
        request.signal = number
        # Not what was there before: a shell lets what it starts in the background ignore Ctrl-C.
        signal.signal(signal.SIGINT, signal.default_int_handler)
        if speaks:
            said = "\nStopping after this step or scoring, with a checkpoint; Ctrl-C again stops at once."
            print(said, file=sys.stderr, flush=True)

    for number in _SIGNALS:
        signal.signal(number, ask)
    try:
        yield request
    finally:
        for number in _SIGNALS:
            signal.signal(number, previous[number])
