"""Work on many images by threads that run ahead of whoever takes the results."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import TypeVar

Item = TypeVar("Item")
Made = TypeVar("Made")


def in_threads(make: Callable[[Item], Made], items: Iterable[Item], num_threads: int) -> Iterator[Made]:
    """Yield `make` of every item, in order, made ahead by threads; by the caller's own where `num_threads` is 0."""
    remaining = iter(items)
    if num_threads == 0:
        yield from map(make, remaining)
        return
    pool = ThreadPoolExecutor(num_threads, thread_name_prefix="loader")

    def begin(item: Item) -> Future[Made]:
        try:
            return pool.submit(make, item)
        except RuntimeError as error:
            raise OSError(
                f"a thread that loads images could not be started ({error}); raise the limit of processes (ulimit -u),"
                " or ask for fewer threads"
            ) from None

    try:
        ahead = deque(map(begin, islice(remaining, num_threads + 1)))
        while ahead:
            made = ahead.popleft().result()
            ahead.extend(map(begin, islice(remaining, 1)))
            yield made
        pool.shutdown()  # memory grows where the next epoch's threads begin before these have ended
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
