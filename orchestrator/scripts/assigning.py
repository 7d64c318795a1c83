"""From a script job's file to what its supervisor has to know: the same for `lockstep run` and a server."""

from __future__ import annotations

from orchestrator.scripts.job import ScriptJob
from orchestrator.spec import ScriptSpec


def script_job(spec: ScriptSpec, run: str, folder: str = "") -> ScriptJob:
    """What a supervisor has to know of a script job.

    Args:
        run: tells this run from others of the same job; lower-case letters, digits and dashes.
        folder: names the job's folder on each node; as `run` when left out.
    """
    return ScriptJob(
        name=spec.name,
        run=run,
        folder=folder or run,
        command=spec.command,
        environment=spec.env,
        cpus=spec.workers.cpus,
        gpus=spec.workers.gpus,
        grace=spec.grace_seconds,
        workers_min=spec.workers.min,
        workers_max=spec.workers.max,
    )
