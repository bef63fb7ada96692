import os
import signal
from collections.abc import Iterator

import pytest

from resnext.cli.interrupt import stop_request


@pytest.fixture(params=[signal.SIG_IGN, signal.SIG_DFL, signal.default_int_handler])
def before(request: pytest.FixtureRequest) -> Iterator[object]:
    """What Ctrl-C did to the process: a shell lets what it starts in the background ignore it."""
    kept = signal.signal(signal.SIGINT, request.param)
    yield request.param
    signal.signal(signal.SIGINT, kept)


def test_a_second_ctrl_c_stops_at_once_whatever_it_did_before_and_then_does_that_again(before: object) -> None:
    with stop_request(speaks=False) as stop:
        assert not stop.is_set()
        os.kill(os.getpid(), signal.SIGINT)
        assert (stop.signal, stop.status) == (signal.SIGINT, 130)
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) == before


def test_sigterm_asks_to_stop_too() -> None:
    with stop_request(speaks=False) as stop:
        os.kill(os.getpid(), signal.SIGTERM)
    assert stop.status == 143
