"""Where the members of one generation meet: exchanges between them, and what a death does to these."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from workers.protocol import Membership

if TYPE_CHECKING:
    from tests.simulation.worker import SimWorker
    from tests.simulation.world import World

#: An exchange's name: what it is for, and a number.
Key = tuple[str, int]


class PeerLost(Exception):
    """An exchange broke: for the member that it is thrown at, the generation is over."""


class Exchange:
    """One exchange, and who has come to it so far."""

    __slots__ = ("complete", "participants", "tokens", "values")

    def __init__(self, participants: Sequence[str]) -> None:
        self.participants = participants
        self.values: dict[str, Any] = {}
        self.tokens: dict[str, int] = {}
        self.complete = False


class Meeting:
    """One generation's full mesh of connections.

    An exchange is over, for each participant at a moment of its own, after all have come to it. Those whose
    moment has not come yet when a peer goes may still miss it: so survivors straddle an update.
    """

    def __init__(self, world: World, membership: Membership) -> None:
        self.membership = membership
        self._world = world
        self._exchanges: dict[Key, Exchange] = {}
        self._waiting: dict[str, Key] = {}
        self._here: dict[str, SimWorker] = {}
        self._gone: set[str] = set()

    def arrive(self, worker: SimWorker, key: Key, value: Any, participants: Sequence[str] = ()) -> None:
        """A worker comes to an exchange; it is woken when that is complete, or broken."""
        name = worker.name
        self._here[name] = worker
        exchange = self._exchanges.get(key)
        if exchange is None:
            exchange = self._exchanges[key] = Exchange(participants or self.membership.workers)
        exchange.values[name] = value
        exchange.tokens[name] = worker.token
        self._waiting[name] = key
        if len(exchange.values) == len(exchange.participants):
            self._complete(key, exchange)
        elif self._gone and not worker.cut and self._gone.intersection(exchange.participants):
            self._break(worker, exchange)
        if self._world.quiet:  # waits have an end of their own
            self._end_patience(worker, exchange)

    def leave(self, name: str, *, silently: bool = False) -> None:
        """A member closes its connections, by its own will or by its death; what it sent last may be lost.

        Args:
            silently: without a packet that would tell the others.
        """
        if name in self._gone:
            return
        self._gone.add(name)
        self._waiting.pop(name, None)
        if silently:
            self._world.hush()
            return
        for other, key in list(self._waiting.items()):
            exchange, worker = self._exchanges[key], self._here[other]
            if name not in exchange.participants or worker.cut:
                continue
            if not exchange.complete:
                if name in exchange.values or self._world.rng.random() < 0.7 or key[0] != "connect":
                    self._break(worker, exchange)
            elif worker.token == exchange.tokens[other] and self._world.rng.random() < 0.5:
                worker.wake(exchange.tokens[other], error=PeerLost(f"{name} is gone"))

    def hush(self) -> None:
        """A member may have become silent: whoever waits now gives up after a while."""
        for name, key in self._waiting.items():
            self._end_patience(self._here[name], self._exchanges[key])

    def recheck(self) -> None:
        """The network is whole again."""
        for name, key in list(self._waiting.items()):
            exchange = self._exchanges[key]
            if exchange.complete:
                continue
            if len(exchange.values) == len(exchange.participants):
                self._complete(key, exchange)
            elif self._gone.intersection(exchange.participants):
                self._break(self._here[name], exchange)

    def _complete(self, key: Key, exchange: Exchange) -> None:
        names = exchange.participants
        if len(names) > 1 and any(self._here[name].cut for name in names):
            return
        exchange.complete = True
        self._world.oracles.exchanged(self.membership, key, exchange.values)
        rng, clock = self._world.rng, self._world.clock
        for name in names:
            latency = 0.0003 + 0.004 * rng.random() ** 3 if len(names) > 1 else 0.0
            action = partial(self._here[name].wake, exchange.tokens[name], exchange.values)
            clock.after(latency, action)
        if len(self._exchanges) > 8:
            del self._exchanges[next(iter(self._exchanges))]

    def _break(self, worker: SimWorker, exchange: Exchange) -> None:
        error = PeerLost("a peer is gone")
        action = partial(worker.wake, exchange.tokens[worker.name], error=error)
        self._world.clock.after(0.005 + 0.065 * self._world.rng.random(), action)

    def _end_patience(self, worker: SimWorker, exchange: Exchange) -> None:
        error = PeerLost("a peer was silent for too long")
        action = partial(worker.wake, exchange.tokens[worker.name], error=error)
        self._world.clock.after(self._world.plan.patience, action)
