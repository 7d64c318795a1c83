"""Runs a job's workers as plain processes on this machine, without Ray: for tests, GPU boxes and debuggers.

`ProcessCrew` carries messages to and from them; `launch` is all the supervisor that an undisturbed run needs:
one generation, and the manifests.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from threading import Thread
from typing import Protocol

from workers.checkpoint.committer import Committer
from workers.checkpoint.load import read_manifest
from workers.forks import start
from workers.numerics.tree import dyadic_assignment
from workers.protocol import (
    Beat,
    Broken,
    CheckpointCommitted,
    Evaluated,
    Event,
    Failed,
    Finished,
    Lost,
    Membership,
    News,
    Order,
    Placed,
    Ready,
    Saved,
    Stacks,
    StandsBy,
    TrainJob,
    Vanished,
)
from workers.stacks import end, prepare
from workers.storage import Store
from workers.worker import Worker

#: Signals that anybody may have sent: the system when it is short of memory, too.
_FROM_OUTSIDE = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
#: How often a worker says that it is alive when it has nothing else to say.
BEAT_SECONDS = 0.2


class JobFailed(Exception):
    """A worker failed; the message is what it reported, with the user's traceback if there is one."""


class ProcessCrew:
    """A job's workers as child processes. They end when this process does, however it ends.

    Args:
        job: what to train.
        nodes: what to take this machine for; workers are shared out among these names.
    """

    def __init__(self, job: TrainJob, nodes: Sequence[str] = ("localhost",)) -> None:
        self._job, self._nodes = job, nodes
        self._node_of: dict[str, str] = {}
        self._processes: dict[str, BaseProcess] = {}
        self._connections: dict[str, Connection] = {}
        self._news: list[News] = []

    def hire(self, workers: Sequence[str], avoid: Collection[str] = (), nodes: Sequence[str] = ()) -> None:
        """Start a process for each of these names, on other nodes than those, if there are any."""
        for worker in workers:
            node = self._emptiest(avoid)
            arguments = worker, node, self._job
            self._processes[worker], self._connections[worker] = start(_main, *arguments, name=worker)
            self._node_of[worker] = node
        self._news.append(Placed(workers=tuple(workers)))

    @property
    def workers(self) -> list[str]:
        """Those whose processes are not known to have ended."""
        return list(self._connections)

    def pid(self, worker: str) -> int:
        """The process of a worker that was hired."""
        return self._processes[worker].pid or 0

    def tell(self, worker: str, order: Order) -> None:
        """Send an order; one to a worker that is gone is lost."""
        if worker in self._connections:
            with suppress(OSError):  # that it is dead is heard from its pipe
                self._connections[worker].send(order)

    def hear(self, timeout: float) -> list[News]:
        """Some of what happened, in each worker's order; waits up to `timeout` seconds for something."""
        news, self._news = self._news, []
        ready = wait(list(self._connections.values()), 0 if news else timeout)
        for worker, connection in list(self._connections.items()):
            if connection in ready:
                try:
                    news += connection.recv()
                except (EOFError, OSError):
                    news.append(self._end(worker))
        return news

    def dismiss(self, worker: str, *, stacks: bool = False) -> None:
        """End a worker's process at once; all that is heard of it any more are its stacks, if asked for."""
        if worker in self._connections:
            text = end(self.pid(worker), stacks=stacks)
            self._end(worker)
            if stacks:
                self._news.append(Stacks(worker=worker, text=text))

    def close(self) -> None:
        """End all."""
        for worker in list(self._connections):
            self.dismiss(worker)

    def _emptiest(self, avoid: Collection[str]) -> str:
        loads = {node: 0 for node in self._nodes if node not in avoid} or dict.fromkeys(self._nodes, 0)
        for worker in self._connections:
            if self._node_of[worker] in loads:
                loads[self._node_of[worker]] += 1
        return min(loads, key=lambda node: loads[node])

    def _end(self, worker: str) -> Lost:
        """Take a dead worker off the list; how its process ended."""
        self._connections.pop(worker).close()
        process = self._processes[worker]
        process.join()
        code = process.exitcode or 0
        cause = f"killed by signal {-code}" if code < 0 else f"exit code {code}"
        return Lost(worker=worker, cause=cause, by_itself=-code not in _FROM_OUTSIDE)


class Crew(Protocol):
    """What `launch` needs of a crew; see `ProcessCrew`."""

    def hire(self, workers: Sequence[str]) -> None:
        """Let there be workers of these names."""

    def tell(self, worker: str, order: Order) -> None:
        """Send an order."""

    def hear(self, timeout: float) -> list[News]:
        """Some of what happened, in each worker's order."""

    def close(self) -> None:
        """Nothing more is wanted of the workers."""


def launch(
    job: TrainJob, workers: int, resume_step: int | None = None, crew: Crew | None = None
) -> Iterator[Event]:
    """Train `job` with so many processes; yields every worker's events as they come.

    Args:
        resume_step: of the checkpoint to go on from.
        crew: gives the workers; by default new processes.

    Raises:
        JobFailed: a worker reported a failure or died. The others are ended.
    """
    ids = tuple(f"worker-{number}" for number in range(workers))
    crew = crew or ProcessCrew(job)
    try:
        crew.hire(ids)
        yield from _supervise(job, crew, ids, resume_step)
    finally:
        crew.close()


def _supervise(job: TrainJob, crew: Crew, ids: tuple[str, ...], resume_step: int | None) -> Iterator[Event]:
    ready: dict[str, Ready] = {}
    saves: dict[int, list[Saved]] = {}
    metrics: dict[int, Mapping[str, float]] = {}
    ended: set[str] = set()
    broken: Broken | None = None
    committer = _committer(job, resume_step)
    while len(ended) < len(ids):
        for news in crew.hear(timeout=60):
            if isinstance(news, Lost):
                raise JobFailed(f"{news.worker} died: {news.cause}")
            if isinstance(news, (Beat, Stacks, StandsBy, Placed, Vanished)):
                continue
            yield news
            match news:
                case Ready():
                    ready[news.worker] = news
                    if len(ready) == len(ids):
                        _tell_all(crew, ids, _membership(job, ids, ready, committer))
                case Evaluated():  # before it is saved
                    metrics[news.step] = news.metrics
                case Saved():
                    saves.setdefault(news.step, []).append(news)
                    if len(saves[news.step]) == len(ids) and committer is not None:
                        _commit(committer, saves.pop(news.step), metrics.pop(news.step, None))
                        _tell_all(crew, ids, CheckpointCommitted(step=news.step))
                case Failed():
                    raise JobFailed("\n".join(filter(None, [news.trace, news.message])))
                case Broken():  # an effect: whoever is the cause says more, or is dead
                    broken = broken or news
                    ended.add(news.worker)
                case Finished():
                    ended.add(news.worker)
    if broken is not None:
        raise JobFailed(broken.message)


def _tell_all(crew: Crew, workers: Sequence[str], order: Order) -> None:
    for worker in workers:
        crew.tell(worker, order)


def _membership(
    job: TrainJob, workers: tuple[str, ...], ready: Mapping[str, Ready], committer: Committer | None
) -> Membership:
    begin = committer.newest if committer is not None else None
    resume_step = begin.step if begin is not None else None
    return Membership(
        generation=0,
        workers=workers,
        hosted=dyadic_assignment(job.virtual_ranks, len(workers)),
        store=ready[workers[0]].store,
        resume_step=resume_step,
        saved_step=resume_step or 0,
        committed_step=resume_step or 0,
        left_out=begin.left_out if begin is not None else (),
        step=resume_step or 0,
    )


def _committer(job: TrainJob, resume_step: int | None) -> Committer | None:
    if job.checkpoint_uri is None:
        return None
    store = Store(job.checkpoint_uri)
    parent = read_manifest(store, resume_step) if resume_step is not None else None
    return Committer(store, parent=parent, keep=job.checkpoint_keep)


def _commit(committer: Committer, reports: Sequence[Saved], metrics: Mapping[str, float] | None) -> None:
    draft = next(report.draft for report in reports if report.draft is not None)
    chunks = {number: chunk for report in reports for number, chunk in report.chunks.items()}
    committer.commit(draft, chunks, metrics)


def _obey(worker: Worker, connection: Connection) -> None:
    """Pass orders down until the parent is gone; then there is nobody to train for."""
    with suppress(EOFError, OSError):
        while True:
            worker.tell(connection.recv())
    os._exit(1)


def _main(worker_id: str, node: str, job: TrainJob, connection: Connection) -> None:
    """In the child: pass events and signs of life up the pipe, and orders down."""
    prepare()
    worker = Worker(worker_id, job, node=node, node_id=node, host="127.0.0.1")
    worker.start()
    Thread(target=_obey, args=(worker, connection), daemon=True).start()
    acknowledged = 0
    while True:
        numbered = worker.outbox.read(acknowledged, timeout=BEAT_SECONDS)
        acknowledged = numbered[-1][0] if numbered else acknowledged
        connection.send([*(event for _, event in numbered), Beat(worker=worker_id, pulse=worker.pulse())])
