"""One of the processes that train a job again: goes from checkpoint to checkpoint, and compares at each.

It writes nothing. What it comes to is compared in memory with what the manifests say.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Mapping
from contextlib import closing, suppress
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection
from threading import Thread
from typing import Any

import torch

from workers.blame import describe
from workers.checkpoint.load import read_manifest
from workers.numerics.environment import fingerprint
from workers.numerics.exchange import Exchange, PeerLost
from workers.numerics.generation import form, serve_store
from workers.protocol import Membership, TrainJob
from workers.replay.differences import Difference, differences
from workers.replay.stepping import begin_anew, restore, step_runner
from workers.storage import Store
from workers.training.build import Built, build
from workers.training.step import Team

_HOST = "127.0.0.1"
#: How often it says how far it is.
_SAY_SECONDS = 0.5


@dataclass(frozen=True, kw_only=True)
class Task:
    """What one process has to do.

    Attributes:
        job: what to train, to its last step.
        uri: the job's checkpoints, which are only read.
        rank: of this process.
        start: the checkpoint to begin from; 0 for none.
        goals: the steps of the checkpoints to compare with, ascending.
        gpu: which one it may see, as CUDA_VISIBLE_DEVICES names it; None for those that there are.
    """

    job: TrainJob
    uri: str
    rank: int
    start: int
    goals: tuple[int, ...]
    gpu: str | None = None


@dataclass(frozen=True, kw_only=True)
class Arrived:
    """It is built, and waits for its membership."""

    store: str
    fingerprint: Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class At:
    """So many steps are done."""

    step: int


@dataclass(frozen=True, kw_only=True)
class Compared:
    """A checkpoint was reached.

    Attributes:
        digest: of this process's state.
        differences: from the checkpoint.
    """

    step: int
    digest: str
    differences: tuple[Difference, ...]


@dataclass(frozen=True, kw_only=True)
class Ended:
    """It cannot go on. `told` is None where another process is gone, which says more; see `workers.blame`."""

    told: Mapping[str, Any] | None


Said = Arrived | At | Compared | Ended


def main(task: Task, connection: Connection) -> None:
    """In the process."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent hears it too, and ends this process
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # stdout is for results
    if task.gpu is not None:
        os.environ["CUDA_VISIBLE_DEVICES"] = task.gpu
    told: Mapping[str, Any] | None = None
    try:
        _train(task, connection)
        return
    except PeerLost:
        pass
    except BaseException as error:  # whatever it is, the parent must hear of it
        told = describe(error)
    with suppress(OSError):  # unless it is gone
        connection.send(Ended(told=told))


def _train(task: Task, connection: Connection) -> None:
    job = task.job
    built = build(job)
    server, address = serve_store(_HOST)  # alive as long as others may connect
    connection.send(Arrived(store=address, fingerprint=fingerprint(job.device, built.replica.optimizer)))
    membership: Membership = connection.recv()
    Thread(target=_end_with_parent, args=(connection,), daemon=True).start()
    built = replace(built, data=built.data.without(membership.left_out))
    store = Store(task.uri)
    if task.start:
        restore(built, store, read_manifest(store, task.start))
    else:
        begin_anew(built, job)
    device = torch.device(job.device)
    exchange = form(membership, task.rank, device, job.name, _HOST, shared=job.gpu_shared)
    with closing(_Closing(exchange)):
        _steps(task, built, store, Team(exchange=exchange, hosted=membership.hosted), connection)
    del server


def _steps(task: Task, built: Built, store: Store, team: Team, connection: Connection) -> None:
    replica, reducer = built.replica, built.reducer
    if reducer is None:
        raise ValueError("steps of stock DDP cannot be done again")
    reducer.join(team.exchange, team.hosted)
    said = time.monotonic()
    with built.data.feed(team.own, replica.step) as feed:
        runner = step_runner(task.job, built, reducer, feed, team)
        for goal in task.goals:
            while replica.step < goal:
                runner.run()
                if task.rank == 0 and time.monotonic() - said > _SAY_SECONDS:
                    said = time.monotonic()
                    connection.send(At(step=replica.step))
            connection.send(_compared(built, store, goal))


def _compared(built: Built, store: Store, step: int) -> Compared:
    manifest, replica = read_manifest(store, step), built.replica
    digest = replica.digest()
    same = digest == manifest.state_digest and replica.scalars() == manifest.scalars
    found = [] if same else differences(replica, store, manifest)
    if not same and not found:
        what = f"was {manifest.state_digest[:16]}…, which is not that of its own tensors"
        found = [Difference(key="state digest", what=what)]
    return Compared(step=step, digest=digest, differences=tuple(found))


def _end_with_parent(connection: Connection) -> None:
    """Nothing more is said to this process: what comes is that the parent is gone."""
    with suppress(EOFError, OSError):
        connection.recv()
    os._exit(1)


class _Closing:
    """Lets `closing` end all transfers of an exchange."""

    def __init__(self, exchange: Exchange) -> None:
        self.close = exchange.abort
