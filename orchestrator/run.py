"""Runs one job here and now: a cluster, its workers, their supervisor, and everybody who watches."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from clusters.types import Cluster, Resources
from orchestrator.bookkeeper import Bookkeeper
from orchestrator.facts import Checkpoint
from orchestrator.gang.commands import Commit
from orchestrator.gang.states import Outcome
from orchestrator.interruption import Interruption
from orchestrator.metrics import MetricsServer
from orchestrator.prepare import Origin, find_origin, resolve
from orchestrator.scoreboard import Scoreboard
from orchestrator.spec import JobSpec
from orchestrator.status import JobView
from orchestrator.steplog import Entry, StepLog
from orchestrator.timeline import Timeline
from workers.checkpoint.committer import Committer
from workers.errors import InputError, UnreachableError
from workers.protocol import TrainJob
from workers.storage import Store


class Display(Protocol):
    """Shows the job to whoever started it."""

    def update(self) -> None:
        """Called often; refreshes when it is time."""

    def event(self, entry: Entry) -> None:
        """Something happened."""


@dataclass(frozen=True, kw_only=True)
class Options:
    """How to run a job; nothing of it changes the result.

    Attributes:
        workers: how many; None for as many as the job can use and the cluster can hold.
        resume, fresh: see `orchestrator.prepare.find_origin`.
        cluster: "local" to start Ray here, "auto" or `host:port` to join a running cluster.
        log: file for one JSON line per step and event.
        metrics_address: `host:port` to serve `/metrics` at.
    """

    workers: int | None = None
    resume: bool = False
    fresh: bool = False
    cluster: str = "local"
    log: Path | None = None
    metrics_address: str


@dataclass(frozen=True, kw_only=True)
class Run:
    """A job that is ready to run: its input is checked, and nothing has been started."""

    job: TrainJob
    origin: Origin
    spec: JobSpec
    options: Options
    scoreboard: Scoreboard
    timeline: Timeline

    @property
    def each(self) -> Resources:
        """What one worker needs."""
        return Resources(cpus=self.spec.workers.cpus, gpus=self.spec.workers.gpus)

    def workers_on(self, cluster: Cluster) -> int:
        """How many workers to start there."""
        if self.options.workers is not None:
            return self.options.workers
        limits = self.spec.workers
        return max(limits.min, min(limits.max, cluster.total.holds(self.each)))


def prepare(spec: JobSpec, job_file: Path, options: Options, timeline: Timeline) -> Run:
    """Check everything that can be checked before anything is started.

    Raises:
        InputError, UnreachableError: something is wrong with the job, its data or its checkpoints.
    """
    workers = options.workers
    if workers is not None and not 1 <= workers <= spec.batch.virtual_ranks:
        what = f"{workers} workers cannot share {spec.batch.virtual_ranks} virtual ranks"
        fix = f"use 1 to {spec.batch.virtual_ranks} workers, or more batch.virtual_ranks"
        raise InputError(what, where="--workers", fix=fix)
    job = resolve(spec, job_file)
    origin = find_origin(job, resume=options.resume, fresh=options.fresh)
    return Run(
        job=job,
        origin=origin,
        spec=spec,
        options=options,
        scoreboard=Scoreboard(job, time.time(), _checkpoint(job, origin)),
        timeline=timeline,
    )


def _checkpoint(job: TrainJob, origin: Origin) -> Checkpoint | None:
    if job.checkpoint_uri is None or origin.manifest is None:
        return None
    return Checkpoint(uri=job.checkpoint_uri, step=origin.manifest.step)


def execute(run: Run, display: Display) -> tuple[Outcome, JobView]:
    """Run the job to its end; returns how it ended and what is known of it.

    Raises:
        InputError: the cluster cannot hold the workers.
        UnreachableError: there is no such cluster.
        KeyboardInterrupt: the user asked to stop before training began.
    """
    board = run.scoreboard
    interruption = Interruption()
    with ExitStack() as stack:
        log = stack.enter_context(StepLog(run.options.log)) if run.options.log is not None else None
        books = Bookkeeper(
            board, run.timeline, [display.event, *([log.write] if log else [])], run.job.checkpoint_uri
        )
        metrics = MetricsServer(lambda: [board.view(time.time())], run.options.metrics_address)
        board.served(metrics.start())
        stack.callback(metrics.stop)
        for note in [*run.origin.notes, *([metrics.notice] if metrics.notice else [])]:
            books.note(note)
        with interruption.watching():
            cluster = stack.enter_context(_cluster(run, interruption))
            run.timeline.mark("ray start")
            outcome = _supervise(run, cluster, books, display, interruption)
        books.ended(outcome)
    return outcome, board.view(time.time())


def _supervise(
    run: Run, cluster: Cluster, books: Bookkeeper, display: Display, interruption: Interruption
) -> Outcome:
    from orchestrator.executor import RayCrew
    from orchestrator.supervisor import Supervisor

    names = tuple(f"worker-{number}" for number in range(run.workers_on(cluster)))
    books.queued(names)

    def waiting(seconds: float) -> None:
        display.update()
        interruption.check()

    crew = RayCrew(run.job, names, run.each, cluster, waiting)
    books.placed(names)
    run.timeline.mark("placement")
    supervisor = Supervisor(
        crew=crew,
        virtual_ranks=run.job.virtual_ranks,
        resume_step=run.origin.manifest.step if run.origin.manifest is not None else None,
        commit=_commits(run, cluster, names),
        observers=[books],
        idle=display.update,
        interruption=interruption,
    )
    try:
        with interruption.watching():  # Ray has taken SIGTERM for itself
            return supervisor.run()
    finally:
        crew.dismiss()


def _commits(run: Run, cluster: Cluster, workers: tuple[str, ...]) -> Callable[[Commit], object]:
    """What writes the manifests of this run's checkpoints."""
    if run.job.checkpoint_uri is None:
        return lambda command: None  # without an address no worker saves anything
    sidecar = {"workers": len(workers), "nodes": sorted(cluster.nodes.values()), "began": time.time()}
    store = Store(run.job.checkpoint_uri)
    committer = Committer(store, parent=run.origin.manifest, keep=run.job.checkpoint_keep, sidecar=sidecar)
    return lambda command: committer.commit(command.draft, command.chunks)


@contextmanager
def _cluster(run: Run, interruption: Interruption) -> Iterator[Cluster]:
    from clusters import local, ray_cluster

    try:
        if run.options.cluster == "local":
            cluster = local.start(run.each.times(run.options.workers or run.spec.workers.min))
        else:
            cluster = ray_cluster.connect(run.options.cluster)
    except ray_cluster.ClusterNotFound as error:
        fix = "start one with `ray start --head`, or leave out --cluster to run on this machine alone"
        raise UnreachableError(
            f"no Ray cluster answers: {error}", where=run.options.cluster, fix=fix
        ) from error
    except Exception:
        interruption.check()  # a Ctrl-C reaches Ray's own processes too, and what they die of is no news
        raise
    try:
        interruption.check()
        yield cluster
    finally:
        local.stop() if cluster.embedded else ray_cluster.disconnect()
