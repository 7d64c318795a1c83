"""Runs one job here and now: a cluster, the job's supervisor on it, and everybody who watches."""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from clusters.types import Cluster, Resources
from orchestrator.assigning import assign
from orchestrator.gang import Outcome
from orchestrator.interruption import Interruption
from orchestrator.metrics import MetricsServer
from orchestrator.prepare import Origin, find_origin, resolve
from orchestrator.records.scoreboard import Scoreboard
from orchestrator.records.status import JobView
from orchestrator.records.steplog import Entry, StepLog
from orchestrator.records.timeline import Timeline
from orchestrator.sessions import Session, announced
from orchestrator.spec import JobSpec
from workers.errors import InputError, UnreachableError
from workers.protocol import TrainJob

if TYPE_CHECKING:
    from orchestrator.job_actor import Assignment

#: What a worker of an embedded cluster asks of Ray: there they take turns on the CPUs that there are.
_NO_RATION = 0.001


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


@dataclass(kw_only=True)
class Latest:
    """The job as it was seen last."""

    view: JobView


@dataclass(frozen=True, kw_only=True)
class Run:
    """A job that is ready to run: its input is checked, and nothing has been started."""

    job: TrainJob
    origin: Origin
    spec: JobSpec
    options: Options
    latest: Latest
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
    job = resolve(spec, job_file, fresh=options.fresh)
    origin = find_origin(job, resume=options.resume, fresh=options.fresh)
    return Run(
        job=job,
        origin=origin,
        spec=spec,
        options=options,
        latest=Latest(view=Scoreboard(job, time.time()).view(time.time())),
        timeline=timeline,
    )


def execute(run: Run, display: Display) -> tuple[Outcome, JobView]:
    """Run the job to its end; returns how it ended and what is known of it.

    Raises:
        InputError: the cluster cannot hold the workers, or runs this job already.
        UnreachableError: there is no such cluster.
        KeyboardInterrupt: the user asked to stop before training began.
    """
    interruption = Interruption()
    with ExitStack() as stack:
        # First of all: an exception out of a handler may surface where it is lost, as in a callback.
        stack.enter_context(interruption.watching())
        log = stack.enter_context(StepLog(run.options.log)) if run.options.log is not None else None
        metrics = MetricsServer(lambda: [run.latest.view], run.options.metrics_address)
        address = metrics.start()
        stack.callback(metrics.stop)
        notes = (metrics.notice,) if metrics.notice else ()
        interruption.check()
        cluster = stack.enter_context(_cluster(run, interruption))
        run.timeline.mark("ray start")
        return _supervise(run, cluster, notes, address, log, display, interruption)


def _supervise(
    run: Run,
    cluster: Cluster,
    notes: tuple[str, ...],
    address: str,
    log: StepLog | None,
    display: Display,
    interruption: Interruption,
) -> tuple[Outcome, JobView]:
    from orchestrator.following import begin, dismiss, find, follow

    supervisor = find(run.job.name)
    if supervisor is None:
        supervisor = begin(_assignment(run, cluster, notes, address))
    elif not run.options.resume:
        fix = "follow it with --resume, or cancel it first"
        raise InputError("the job runs on this cluster already", where=run.job.name, fix=fix)

    def look(view: JobView) -> None:
        run.latest.view = view
        display.update()

    sinks = [display.event, *([log.write] if log is not None else [])]
    with interruption.watching():  # Ray has taken SIGTERM for itself
        outcome, view = follow(supervisor, sinks=sinks, look=look, interruption=interruption)
    run.latest.view = view
    dismiss(supervisor)
    return outcome, view


def _assignment(run: Run, cluster: Cluster, notes: tuple[str, ...], address: str) -> Assignment:
    workers = run.workers_on(cluster)
    check_room(workers, run.each, cluster)
    return assign(
        run.job,
        run.origin,
        run.spec,
        run=f"{run.job.name}-{uuid.uuid4().hex[:8]}",
        workers=workers,
        each=replace(run.each, cpus=_NO_RATION) if cluster.embedded else run.each,
        nodes=list(cluster.nodes.values()),
        submitted=run.timeline.since - sum(run.timeline.phases.values()),
        phases=run.timeline.phases,
        since=run.timeline.since,
        notes=notes,
        metrics_address=address,
    )


def check_room(count: int, each: Resources, cluster: Cluster) -> None:
    """An embedded cluster has room for any number of workers; only GPUs are rationed there."""
    needs = replace(each, cpus=_NO_RATION) if cluster.embedded else each
    if cluster.total.holds(needs) < count:
        raise InputError(
            f"{count} workers with {each} each need {each.times(count)}, and the cluster has {cluster.total}",
            where="workers",
            fix="use fewer workers, ask for less per worker, or add nodes",
        )


def join(address: str) -> Cluster:
    """Connect to a running cluster.

    Raises:
        UnreachableError: there is none.
    """
    from clusters import ray_cluster

    try:
        return ray_cluster.connect(address)
    except ray_cluster.ClusterNotFound as error:
        fix = "start one with `ray start --head`, or leave out --cluster to run on this machine alone"
        raise UnreachableError(f"no Ray cluster answers: {error}", where=address, fix=fix) from error


@contextmanager
def _cluster(run: Run, interruption: Interruption) -> Iterator[Cluster]:
    from clusters import local, ray_cluster

    try:
        if run.options.cluster == "local":
            cluster = local.start(processes=(run.options.workers or run.spec.workers.min) + 1)
        else:
            cluster = join(run.options.cluster)
    except UnreachableError:
        raise
    except Exception:
        interruption.check()  # a Ctrl-C reaches Ray's own processes too, and what they die of is no news
        raise
    try:
        interruption.check()
        if cluster.embedded:
            with announced(Session.here(run.job.name, cluster.address)):
                yield cluster
        else:
            yield cluster
    finally:
        local.stop() if cluster.embedded else ray_cluster.disconnect()
