"""The cluster, and all at a glance."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import Response

from orchestrator.api import models, views
from orchestrator.api.access import AdminOfAll, Viewer
from orchestrator.api.context import Context, Here, note
from orchestrator.api.errors import Wrong
from orchestrator.api.models import Cursor, NodeId, PageLimit
from orchestrator.api.routes.jobs import visible
from orchestrator.api.routes.responses import fails
from orchestrator.records.facts import JobState
from orchestrator.store.records import JobRecord
from orchestrator.store.states import HOLDING
from workers.errors import InputError

router = APIRouter(prefix="/v1", tags=["cluster"])

_SHOWN_MAX = 200
_WAITING = (JobState.QUEUED, JobState.PAUSED)


@router.get("/nodes", responses=fails())
def nodes(here: Here, caller: Viewer) -> models.Nodes:
    """All nodes, as the control loop saw them last."""
    return models.Nodes(nodes=_nodes(here))


@router.post("/nodes/{node}/drain", status_code=202, response_class=Response, responses=fails(404))
def drain(node: NodeId, wish: models.Drain, here: Here, caller: AdminOfAll, request: Request) -> Response:
    """Move all workers away from a node; no more go there."""
    try:
        here.needs_control().drain(node, wish.seconds)
    except InputError as error:
        raise Wrong(404, error.what, where=error.where, fix=error.fix) from error
    with here.database.transaction() as tx:
        note(tx, request, "drain", node, f"within {wish.seconds:g} s")
    return Response(status_code=202)


@router.get("/summary", responses=fails())
def summary(here: Here, caller: Viewer) -> models.Summary:
    """All at a glance."""
    mine = visible(caller, None)
    with here.database.reading() as tx:
        queues = [queue for queue in tx.queues.all() if caller.sees(queue.id)]
        counts = tx.jobs.count_by_queue()
        holding = tx.jobs.page(states=list(HOLDING), queues=mine, limit=10_000)
        waiting = tx.jobs.page(states=list(_WAITING), queues=mine, limit=_SHOWN_MAX)
        workers: dict[str, int] = {}
        for allocation in tx.allocations.all():
            workers[allocation.job] = workers.get(allocation.job, 0) + allocation.workers
    return models.Summary(
        time=time.time(),
        nodes=_nodes(here),
        queues=[
            models.QueueUse(
                **views.queue(queue).model_dump(),
                states={state.value: count for state, count in counts.get(queue.id, {}).items()},
                used=_used((job for job in holding if job.submission.queue == queue.id), workers),
            )
            for queue in queues
        ],
        jobs=[views.job(record) for record in [*holding[:_SHOWN_MAX], *waiting]],
    )


@router.get("/debug/snapshot", responses=fails())
def snapshot(here: Here, caller: AdminOfAll) -> dict[str, Any]:
    """What the scheduler saw last; it can be planned again elsewhere."""
    return Response(here.needs_control().snapshot(), media_type="application/json")  # type: ignore[return-value]


@router.get("/audit", responses=fails(), tags=["audit"])
def audit(here: Here, caller: AdminOfAll, limit: PageLimit = 100, cursor: Cursor = None) -> models.AuditLog:
    """Who did, or tried to do, what, when, and from where; the newest first."""
    here.note_refusals(time.time())
    with here.database.reading() as tx:
        found = tx.audit.page(before=cursor, limit=limit + 1)
    shown = found[:limit]
    return models.AuditLog(
        entries=[views.audit(entry) for entry in shown],
        next=shown[-1].number if len(found) > limit else None,
    )


def _nodes(here: Context) -> list[models.Node]:
    seen: Iterable[Mapping[str, Any]] = here.control.nodes() if here.control is not None else ()
    return [models.Node.model_validate(dict(node)) for node in seen]


def _used(jobs: Iterable[JobRecord], workers: Mapping[str, int]) -> models.Amounts:
    cpus = gpus = 0.0
    for job in jobs:
        each = job.submission.spec.get("workers") or {}
        count = workers.get(job.id, 0)
        cpus += count * each.get("cpus", 1.0)
        gpus += count * each.get("gpus", 0.0)
    return models.Amounts(cpu_millis=round(cpus * 1000), gpu_millis=round(gpus * 1000))
