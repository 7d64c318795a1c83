"""Begins an attempt of a job: its folder unpacked, its data resolved, its checkpoints looked at, its
supervisor started.

All of it may take long and may fail, so it is done beside the control loop. Nothing of the job's own runs
here.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from clusters.types import Resources
from orchestrator.assigning import assign
from orchestrator.bundles import fetch, unpack
from orchestrator.prepare import find_origin, resolve
from orchestrator.scripts.assigning import script_job
from orchestrator.scripts.job import Policy
from orchestrator.service.executor import Order
from orchestrator.spec import ScriptSpec, check_job
from workers.storage import Store

#: How many attempts are prepared at once: each may read manifests, and all share one interpreter.
_AT_ONCE = 8
#: The job file's name in a job's folder, as far as anybody asks.
_JOB_FILE = "job.yaml"


@dataclass(kw_only=True)
class Launcher:
    """Begins attempts.

    Attributes:
        bundles: where the folders of jobs are kept.
        folder: where they are unpacked, each once.
        server: tells this server's supervisors from those of others.
    """

    bundles: Store
    folder: Path
    server: str
    _turns: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(_AT_ONCE))
    _unpacking: threading.Lock = field(default_factory=threading.Lock)

    def tag(self, job: str, attempt: int) -> str:
        """Of an attempt's supervisor; see `Assignment.tag`."""
        return f"{self.server}.{job}.{attempt}"

    def attempt(self, actor: str) -> tuple[str, int] | None:
        """The job and the attempt that a supervisor's name stands for; None if it is not of this server."""
        parts = actor.split("/")
        server, _, rest = parts[1].partition(".") if len(parts) == 3 else ("", "", "")
        job, _, attempt = rest.rpartition(".")
        return (job, int(attempt)) if server == self.server and attempt.isdecimal() else None

    def prepare(self, order: Order) -> Callable[[], Any]:
        """Look at everything that can be wrong with an attempt.

        Returns:
            what begins it, and returns its supervisor.

        Raises:
            LockstepError: why it cannot be begun.
        """
        from orchestrator.following import begin

        since = time.time()
        with self._turns:
            spec = check_job(order.spec, "the job's fields")
            if isinstance(spec, ScriptSpec):
                return self._prepare_script(order, spec)
            job_file = self._unpack(order.bundle) / _JOB_FILE
            fresh = order.start == "fresh"
            job = resolve(spec, job_file, fresh=fresh)
            origin = find_origin(job, resume=order.start == "resume", fresh=fresh)
            assignment = assign(
                job,
                origin,
                spec,
                run=f"{order.name}-{order.job}-{order.attempt}",
                workers=sum(order.places.values()),
                each=Resources(cpus=spec.workers.cpus, gpus=spec.workers.gpus),
                nodes=list(order.places),
                submitted=order.submitted_at,
                phases={"queue": max(0.0, since - order.submitted_at), "prepare": time.time() - since},
                since=time.time(),
                places=order.places,
                number=order.number,
                tag=self.tag(order.job, order.attempt),
            )
        return partial(begin, assignment)

    def _prepare_script(self, order: Order, spec: ScriptSpec) -> Callable[[], Any]:
        """Its folder stays on the nodes over all attempts, until the job is over."""
        from clusters.connection import namespace
        from orchestrator.following import begin
        from orchestrator.script_actor import ScriptAssignment

        if order.bundle is not None:
            fetch(self.bundles, order.bundle)  # what is wrong with it is said here
        folder = f"{order.name}-{order.job}"
        assignment = ScriptAssignment(
            job=script_job(spec, f"{folder}-{order.attempt}", folder),
            namespace=namespace(),
            policy=Policy(),
            workers=sum(order.places.values()),
            store=self.bundles.uri,
            bundle=order.bundle,
            notes=(),
            submitted=order.submitted_at,
            places=dict(order.places),
            number=order.number,
            tag=self.tag(order.job, order.attempt),
        )
        return partial(begin, assignment)

    def _unpack(self, bundle: str | None) -> Path:
        """The folder that came with a job; an empty one, if none did."""
        target = self.folder / (bundle or "none")
        with self._unpacking:
            if not target.exists():
                if bundle is None:
                    target.mkdir(parents=True)
                else:
                    unpack(fetch(self.bundles, bundle), bundle, target)
        return target
