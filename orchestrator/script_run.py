"""Runs one script job and follows it to the end: as processes of this machine, or on a Ray cluster."""

from __future__ import annotations

import os
import shutil
import time
import uuid
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from clusters.connection import namespace
from clusters.types import Cluster, Resources
from orchestrator.bundles import keep, pack
from orchestrator.gang import Outcome
from orchestrator.gang.events import Interrupted
from orchestrator.interruption import Interruption
from orchestrator.metrics import MetricsServer
from orchestrator.records.status import JobView
from orchestrator.records.steplog import Entry, StepLog
from orchestrator.run import Display, Latest, Options, check_room, join
from orchestrator.scripts.assigning import script_job
from orchestrator.scripts.books import ScriptBooks
from orchestrator.scripts.host import ScriptHost
from orchestrator.scripts.job import Policy, ScriptJob
from orchestrator.spec import ScriptSpec
from workers.errors import InputError
from workers.script.local import LocalCrew, gpus_here
from workers.storage import Store

if TYPE_CHECKING:
    from orchestrator.script_actor import ScriptAssignment

_LOOK_SECONDS = 0.2
#: Earlier runs of a job whose output is kept.
_RUNS_KEPT = 4


@dataclass(frozen=True, kw_only=True)
class ScriptRun:
    """A script job that is ready to run: its input is checked, and nothing has been started."""

    job: ScriptJob
    spec: ScriptSpec
    folder: Path
    options: Options
    latest: Latest

    @property
    def each(self) -> Resources:
        """What one rank needs."""
        return Resources(cpus=self.job.cpus, gpus=float(self.job.gpus))

    def workers_on(self, cluster: Cluster) -> int:
        """How many ranks to start there."""
        if self.options.workers is not None:
            return self.options.workers
        limits = self.spec.workers
        return max(limits.min, min(limits.max, cluster.total.holds(self.each)))


def prepare_script(spec: ScriptSpec, job_file: Path, options: Options) -> ScriptRun:
    """Check everything that can be checked before anything is started.

    Raises:
        InputError: something is wrong with the job, or with what is asked for.
    """
    limits, workers = spec.workers, options.workers
    if workers is not None and not limits.min <= workers <= limits.max:
        what = f"{workers} workers are not between the job's {limits.min} and {limits.max}"
        raise InputError(what, where="--workers", fix="use a number between them, or change workers.max")
    if options.fresh:
        fix = "remove what the program has saved yourself"
        raise InputError("a script job's checkpoints are its program's own", where="--fresh", fix=fix)
    job = script_job(spec, f"{spec.name}-{uuid.uuid4().hex[:8]}")
    nothing_yet = ScriptBooks(job, time.time(), lambda entry: None).view(time.time())
    return ScriptRun(
        job=job,
        spec=spec,
        folder=job_file.absolute().parent,
        options=options,
        latest=Latest(view=nothing_yet),
    )


def execute_script(run: ScriptRun, display: Display) -> tuple[Outcome, JobView]:
    """Run the job to its end; returns how it ended and what is known of it.

    Raises:
        InputError: there is no room for the ranks, or the cluster runs this job already.
        UnreachableError: there is no such cluster.
    """
    interruption = Interruption()
    with ExitStack() as stack:
        stack.enter_context(interruption.watching())  # as in orchestrator.run
        log = stack.enter_context(StepLog(run.options.log)) if run.options.log is not None else None
        metrics = MetricsServer(lambda: [run.latest.view], run.options.metrics_address)
        address = metrics.start()
        stack.callback(metrics.stop)
        notes = [metrics.notice] if metrics.notice else []
        sinks = [display.event, *([log.write] if log is not None else [])]

        def look(view: JobView) -> None:
            run.latest.view = view
            display.update()

        interruption.check()
        how = _here if run.options.cluster == "local" else _on_cluster
        outcome, view = how(run, notes, address, sinks, look, interruption)
        run.latest.view = view
        return outcome, view


def _here(
    run: ScriptRun,
    notes: Sequence[str],
    address: str,
    sinks: Sequence[Callable[[Entry], None]],
    look: Callable[[JobView], None],
    interruption: Interruption,
) -> tuple[Outcome, JobView]:
    """As processes of this machine, in the job's own folder."""
    gpus = gpus_here()
    total = Resources(cpus=float(os.cpu_count() or 1), gpus=float(len(gpus)))
    cluster = Cluster(address="", total=total, embedded=True)
    workers = run.workers_on(cluster)
    check_room(workers, run.each, cluster)
    logs = _state_folder() / "logs" / run.job.name
    _forget_earlier(logs)
    host = ScriptHost(
        run.job,
        Policy(),
        lambda: LocalCrew(run.folder, logs / run.job.run, gpus=gpus, gpus_each=run.job.gpus),
        workers=workers,
        notes=[*notes, f"each rank's output is kept in {logs / run.job.run}"],
        submitted=time.time(),
        metrics_address=address,
    )
    incarnation, position, asked = "", 0, False
    while True:
        if interruption.requested and not asked:
            asked = True
            host.wish(Interrupted())
        news = host.follow(incarnation, position, _LOOK_SECONDS)
        incarnation, position = news.incarnation, news.position
        for entry in news.entries:
            for sink in sinks:
                sink(entry)
        look(news.view)
        if news.outcome is not None:
            return news.outcome, news.view


def _on_cluster(
    run: ScriptRun,
    notes: Sequence[str],
    address: str,
    sinks: Sequence[Callable[[Entry], None]],
    look: Callable[[JobView], None],
    interruption: Interruption,
) -> tuple[Outcome, JobView]:
    """On a Ray cluster, in copies of the job's folder."""
    from clusters import ray_cluster

    bundle = pack(run.folder)
    store = Store((_state_folder() / "bundles").as_uri())
    keep(store, bundle)
    cluster = join(run.options.cluster)
    try:
        from orchestrator.following import begin, dismiss, find, follow

        supervisor = find(run.job.name)
        if supervisor is None:
            workers = run.workers_on(cluster)
            check_room(workers, run.each, cluster)
            told = (*notes, *bundle.notes)
            supervisor = begin(_assignment(run, workers, store, bundle.sha256, told, address))
        elif not run.options.resume:
            fix = "follow it with --resume, or cancel it first"
            raise InputError("the job runs on this cluster already", where=run.job.name, fix=fix)
        with interruption.watching():  # Ray has taken SIGTERM for itself
            outcome, view = follow(supervisor, sinks=sinks, look=look, interruption=interruption)
        dismiss(supervisor)
        return outcome, view
    finally:
        ray_cluster.disconnect()


def _assignment(
    run: ScriptRun, workers: int, store: Store, bundle: str, notes: tuple[str, ...], address: str
) -> ScriptAssignment:
    from orchestrator.script_actor import ScriptAssignment

    return ScriptAssignment(
        job=run.job,
        namespace=namespace(),
        policy=Policy(),
        workers=workers,
        store=store.uri,
        bundle=bundle,
        notes=notes,
        submitted=time.time(),
        metrics_address=address,
    )


def _forget_earlier(logs: Path) -> None:
    """Of the output of earlier runs, the latest stays."""
    runs = sorted(logs.iterdir(), key=lambda path: path.stat().st_mtime) if logs.is_dir() else []
    for path in runs[:-_RUNS_KEPT]:
        shutil.rmtree(path, ignore_errors=True)


def _state_folder() -> Path:
    """Where this user's programs keep what is not worth a backup (XDG Base Directory Specification)."""
    base = os.environ.get("XDG_STATE_HOME")
    return (Path(base) if base else Path.home() / ".local" / "state") / "lockstep"
