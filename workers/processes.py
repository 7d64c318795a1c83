"""Runs a job's workers as plain processes on this machine, without Ray: for tests, GPU boxes and debuggers.

The parent does what a supervisor does in an undisturbed run: one generation, and the manifests.
"""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from multiprocessing.connection import Connection, wait
from threading import Thread

from workers.checkpoint.committer import Committer
from workers.checkpoint.load import read_manifest
from workers.numerics.tree import dyadic_assignment
from workers.protocol import (
    CheckpointCommitted,
    Event,
    Failed,
    Fault,
    Finished,
    Membership,
    Order,
    Ready,
    Saved,
    TrainJob,
)
from workers.storage import Store
from workers.worker import Worker


class JobFailed(Exception):
    """A worker failed; the message is what it reported, with the user's traceback if there is one."""


def launch(job: TrainJob, workers: int, resume_step: int | None = None) -> Iterator[Event]:
    """Train `job` with so many processes; yields every worker's events as they come.

    Raises:
        JobFailed: a worker reported a failure or died. The others are ended.
    """
    context = multiprocessing.get_context("spawn")
    ids = tuple(f"worker-{number}" for number in range(workers))
    pipes = {worker: context.Pipe() for worker in ids}
    processes = [
        context.Process(target=_main, args=(worker, job, pipes[worker][1]), daemon=True) for worker in ids
    ]
    for process in processes:
        process.start()
    for _, theirs in pipes.values():
        theirs.close()  # so that the death of a worker closes its pipe
    connections = {worker: ours for worker, (ours, _) in pipes.items()}
    try:
        yield from _supervise(job, connections, resume_step)
    finally:
        for process in processes:
            process.kill()
            process.join()


def _supervise(
    job: TrainJob, connections: Mapping[str, Connection], resume_step: int | None
) -> Iterator[Event]:
    ready: dict[str, Ready] = {}
    saves: dict[int, list[Saved]] = {}
    ended: set[str] = set()
    broken: Failed | None = None
    committer = _committer(job, resume_step)
    while len(ended) < len(connections):
        for event in _receive(connections):
            yield event
            if isinstance(event, Ready):
                ready[event.worker] = event
                if len(ready) == len(connections):
                    _form(job, connections, ready, resume_step)
            elif isinstance(event, Saved):
                saves.setdefault(event.step, []).append(event)
                if len(saves[event.step]) == len(connections) and committer is not None:
                    _commit(committer, saves.pop(event.step))
                    _tell_all(connections, CheckpointCommitted(step=event.step))
            elif isinstance(event, Failed):
                if event.fault is not Fault.PEER:
                    raise _failure(event)
                broken = broken or event  # an effect: whoever is the cause says more, or is dead
                ended.add(event.worker)
            elif isinstance(event, Finished):
                ended.add(event.worker)
    if broken is not None:
        raise _failure(broken)


def _failure(event: Failed) -> JobFailed:
    return JobFailed("\n".join(filter(None, [event.trace, event.message])))


def _receive(connections: Mapping[str, Connection]) -> list[Event]:
    """One event of each worker that has some; waits for the first."""
    ready = wait(list(connections.values()))
    events: list[Event] = []
    for worker, connection in connections.items():
        if connection in ready:
            try:
                events.append(connection.recv())
            except (EOFError, OSError):
                raise JobFailed(f"{worker} died") from None
    return events


def _tell_all(connections: Mapping[str, Connection], order: Order) -> None:
    for connection in connections.values():
        with suppress(OSError):  # that a worker is dead is heard from its pipe
            connection.send(order)


def _form(
    job: TrainJob, connections: Mapping[str, Connection], ready: Mapping[str, Ready], resume_step: int | None
) -> None:
    workers = tuple(connections)
    membership = Membership(
        generation=0,
        workers=workers,
        hosted=dyadic_assignment(job.virtual_ranks, len(workers)),
        store=ready[workers[0]].store,
        resume_step=resume_step,
    )
    _tell_all(connections, membership)


def _committer(job: TrainJob, resume_step: int | None) -> Committer | None:
    if job.checkpoint_uri is None:
        return None
    store = Store(job.checkpoint_uri)
    parent = read_manifest(store, resume_step) if resume_step is not None else None
    return Committer(store, parent=parent, keep=job.checkpoint_keep)


def _commit(committer: Committer, reports: Sequence[Saved]) -> None:
    draft = next(report.draft for report in reports if report.draft is not None)
    committer.commit(draft, {number: chunk for report in reports for number, chunk in report.chunks.items()})


def _obey(worker: Worker, connection: Connection) -> None:
    """Pass orders down until the parent is gone; then there is nobody to train for."""
    with suppress(EOFError, OSError):
        while True:
            worker.tell(connection.recv())
    os._exit(1)


def _main(worker_id: str, job: TrainJob, connection: Connection) -> None:
    """In the child: pass events up the pipe and orders down."""
    worker = Worker(worker_id, job, node="localhost", host="127.0.0.1")
    worker.start()
    Thread(target=_obey, args=(worker, connection), daemon=True).start()
    acknowledged = 0
    while True:
        for number, event in worker.outbox.read(acknowledged, timeout=60):
            connection.send(event)
            acknowledged = number
