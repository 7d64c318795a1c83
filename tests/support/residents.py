"""Worker processes that live on from run to run of a job, each time with a new engine that knows nothing.

A test that stops and resumes dozens of times cannot wait for dozens of interpreters to import torch.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Sequence
from multiprocessing.connection import Connection, wait
from typing import Any

from workers.blame import describe
from workers.forks import start
from workers.numerics.exchange import PeerLost
from workers.orders import Orders
from workers.outbox import Outbox
from workers.protocol import Broken, Event, Failed, Membership, Order, TrainJob

#: Ends whatever generation there is; nobody belongs to it.
_RELEASE = Membership(generation=10**9, workers=(), hosted=(), store="")
_RELEASED = "released"


class Residents:
    """So many processes, for as long as the block lasts."""

    def __init__(self, count: int) -> None:
        self.connections: list[Connection] = []
        self._processes = []
        for _ in range(count):
            process, connection = start(_serve)
            self._processes.append(process)
            self.connections.append(connection)

    def crew(self, job: TrainJob) -> ResidentCrew:
        """For one run of a job."""
        return ResidentCrew(self.connections, job)

    def close(self) -> None:
        """End the processes."""
        for connection, process in zip(self.connections, self._processes, strict=True):
            connection.close()
            process.join()


class ResidentCrew:
    """A crew (`workers.processes.Crew`) of some of the processes. They are given back when it is closed."""

    def __init__(self, connections: Sequence[Connection], job: TrainJob) -> None:
        self._free, self._job = list(connections), job
        self._hired: dict[str, Connection] = {}

    def hire(self, workers: Sequence[str]) -> None:
        for worker in workers:
            connection = self._hired[worker] = self._free.pop()
            connection.send((worker, self._job))

    def tell(self, worker: str, order: Order) -> None:
        self._hired[worker].send(order)

    def hear(self, timeout: float) -> list[Any]:
        return [event for connection in wait([*self._hired.values()], timeout) for event in connection.recv()]  # type: ignore[union-attr]

    def close(self) -> None:
        for connection in self._hired.values():
            connection.send(_RELEASE)
        for connection in self._hired.values():
            while connection.recv() != _RELEASED:
                pass


def _serve(connection: Connection) -> None:
    """In the process: one life after another, until the test is gone."""
    try:
        while True:
            worker, job = connection.recv()
            _live(worker, job, connection)
            connection.send(_RELEASED)
    except EOFError:
        os._exit(0)


def _live(worker: str, job: TrainJob, connection: Connection) -> None:
    """Be that worker until the release."""
    orders, outbox = Orders(), Outbox()
    engine = threading.Thread(target=_train, args=(worker, job, orders, outbox))
    engine.start()
    over = threading.Event()
    sender = threading.Thread(target=_report, args=(outbox, connection, over))
    sender.start()
    order = None
    while order != _RELEASE:
        order = connection.recv()
        orders.apply(order)
    engine.join()
    over.set()
    sender.join()


def _train(worker: str, job: TrainJob, orders: Orders, outbox: Outbox) -> None:
    from workers.reporter import Reporter
    from workers.training.engine import Engine

    reporter = Reporter(worker, outbox)
    engine = Engine(job, orders, reporter, node="here", node_id="here", host="127.0.0.1")
    try:
        reporter_ready = engine.build()
        engine.announce(reporter_ready)
        membership = orders.next_membership(after=-1)
        if membership != _RELEASE:
            engine.train(membership)
    except PeerLost as error:  # as `workers.worker` says it: whoever is the cause says more
        if not orders.superseded(0):
            reporter.report(
                Broken,
                generation=membership.generation,
                step=engine.step,
                begun=engine.begun,
                message=str(error),
            )
    except BaseException as error:
        if not orders.superseded(0):  # being released in the middle of a step is no failure
            reporter.report(Failed, **describe(error))


def _report(outbox: Outbox, connection: Connection, over: threading.Event) -> None:
    acknowledged = 0
    while not over.is_set():
        numbered = outbox.read(acknowledged, timeout=0.02)
        if numbered:
            acknowledged = numbered[-1][0]
            events: list[Event] = [event for _, event in numbered]
            connection.send(events)
