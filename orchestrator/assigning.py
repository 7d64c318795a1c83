"""From a job whose input is checked to what its supervisor is told: the same for `lockstep run` and a
server."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from clusters.connection import namespace
from clusters.types import Resources
from orchestrator.gang import Policy
from orchestrator.prepare import Origin
from orchestrator.spec import JobSpec
from workers.checkpoint.retention import erase
from workers.protocol import DataMixture, TrainJob
from workers.storage import Store

if TYPE_CHECKING:  # it imports Ray, which must be set up first
    from orchestrator.job_actor import Assignment


def assign(
    job: TrainJob,
    origin: Origin,
    spec: JobSpec,
    *,
    run: str,
    workers: int,
    each: Resources,
    nodes: list[str],
    submitted: float,
    phases: Mapping[str, float],
    since: float,
    notes: tuple[str, ...] = (),
    metrics_address: str | None = None,
    places: Mapping[str, int] | None = None,
    number: int = 0,
    tag: str | None = None,
) -> Assignment:
    """The assignment; checkpoints that are not to count any more are removed now. See `Assignment`.

    Args:
        nodes: names of the cluster's nodes, for the records.

    Raises:
        AccessError, UnreachableError: see `Store`.
    """
    from orchestrator.job_actor import Assignment

    if origin.erase and job.checkpoint_uri is not None:
        erase(Store(job.checkpoint_uri))
    sidecar: dict[str, Any] = {
        "workers": workers,
        "nodes": sorted(nodes),
        "began": time.time(),
        "train": _addresses(job),
    }
    return Assignment(
        job=job,
        namespace=namespace(),
        run=run,
        policy=Policy(
            virtual_ranks=job.virtual_ranks,
            saves=job.checkpoint_uri is not None,
            save_patience=job.checkpoint_patience,
            damaged_blocks=job.damaged_blocks,
        ),
        workers=workers,
        each=each,
        standby=spec.workers.standby,
        resume_step=origin.manifest.step if origin.manifest is not None else None,
        notes=(*origin.notes, *notes),
        submitted=submitted,
        phases=phases,
        since=since,
        metrics_address=metrics_address,
        sidecar=sidecar,
        places=places,
        number=number,
        tag=tag,
    )


def _addresses(job: TrainJob) -> list[str]:
    """Where the training data are, a URI for each data set."""
    sources = job.train.sources if isinstance(job.train, DataMixture) else (job.train,)
    return [source.uri for source in sources if source is not None]
