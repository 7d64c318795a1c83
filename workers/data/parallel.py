"""Calls that wait for a store, a bounded number at once."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")

_THREADS = 16


def at_once(call: Callable[[T], R], items: Iterable[T], threads: int = _THREADS) -> Iterator[R]:
    """`call(item)` for each item, from a few threads; results in the items' order, the first error raised."""
    waiting: deque[Future[R]] = deque()
    with ThreadPoolExecutor(threads, thread_name_prefix="store") as pool:
        try:
            for item in items:
                if len(waiting) == 2 * threads:  # results that nobody has asked for yet are bounded too
                    yield waiting.popleft().result()
                waiting.append(pool.submit(call, item))
            while waiting:
                yield waiting.popleft().result()
        finally:
            pool.shutdown(wait=False, cancel_futures=True)
