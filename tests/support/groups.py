"""Several members of a generation in one process: real gloo groups, one thread each."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from itertools import count
from typing import TypeVar

import torch
from torch._C._distributed_c10d import HashStore, PrefixStore, ProcessGroupGloo

from workers.numerics.exchange import Alone, Exchange, GlooExchange, Outgoing, PeerLost, Pending

R = TypeVar("R")
_store, _groups = HashStore(), count()


def connected(world: int, patience: float = 20.0) -> list[Exchange]:
    """The exchanges of `world` members, by rank. Keep all of them until every one is done."""
    if world == 1:
        return [Alone(torch.device("cpu"))]
    store = PrefixStore(str(next(_groups)), _store)
    limit = timedelta(seconds=patience)

    def member(rank: int) -> Exchange:
        return GlooExchange(ProcessGroupGloo(store, rank, world, limit), rank, world)  # type: ignore[arg-type]

    return in_threads([lambda rank=rank: member(rank) for rank in range(world)])


class Breaking:
    """An exchange that lets so many calls of `swap` through; at the next one its connections are cut."""

    def __init__(self, exchange: Exchange, after: int) -> None:
        self._exchange, self._after, self.swaps = exchange, after, 0
        self.rank, self.world, self.device = exchange.rank, exchange.world, exchange.device

    def swap(self, sends: Outgoing, receives: Outgoing, tag: int) -> Pending:
        """See `Exchange.swap`."""
        self.swaps += 1
        if self.swaps <= self._after:
            return self._exchange.swap(sends, receives, tag)
        self._exchange.abort()
        return _Cut()

    def flush(self) -> None:
        """See `Exchange.flush`."""
        self._exchange.flush()

    def abort(self) -> None:
        """See `Exchange.abort`."""
        self._exchange.abort()


class _Cut:
    def wait(self) -> None:
        raise PeerLost("cut by the test")


def in_threads(calls: Sequence[Callable[[], R]]) -> list[R]:
    """All results in order; calls run at the same time, and every one has ended on return."""
    with ThreadPoolExecutor(len(calls)) as pool:
        return [future.result() for future in [pool.submit(call) for call in calls]]
