"""One generation's connection to its other members, given up as soon as there is a newer generation."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from workers.numerics.exchange import Exchange
from workers.orders import Orders

T = TypeVar("T")


@contextmanager
def connection(connect: Callable[[], Exchange], orders: Orders, generation: int) -> Iterator[Exchange]:
    """The exchange of a generation; no transfer of it is alive any more when the block is left.

    Members may be gone, frozen or out of reach at any time, and whoever waits for them cannot know. The
    supervisor does, and says so with a newer generation: that ends every wait, also the one to connect.

    Raises:
        PeerLost: from `connect`, from the block, or because a newer generation is known.
    """
    exchange = _unless_superseded(connect, orders, generation)
    try:
        orders.when_superseded(generation, exchange.abort)
        yield exchange
    finally:
        # Living peers may still be sending into buffers that the next generation uses.
        exchange.abort()


def _unless_superseded(connect: Callable[[], Exchange], orders: Orders, generation: int) -> Exchange:
    """`connect` in a thread of its own: nothing can break off a wait inside it, but it can be left alone."""
    connected: queue.SimpleQueue[Exchange | BaseException] = queue.SimpleQueue()
    given_up = threading.Event()

    def attempt() -> None:
        try:
            result: Exchange | BaseException = connect()
        except BaseException as error:  # handed to whoever waits
            result = error
        connected.put(result)
        orders.wake()
        if given_up.is_set() and not isinstance(result, BaseException):
            result.abort()

    threading.Thread(target=attempt, name=f"connect-{generation}", daemon=True).start()
    try:
        orders.wait_for(lambda: not connected.empty(), generation)
    except BaseException:
        given_up.set()
        raise
    found = connected.get()
    if isinstance(found, BaseException):
        raise found
    return found
