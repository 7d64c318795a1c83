"""Queues: tenants, and what each of them gets."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response

from orchestrator.api import models, views
from orchestrator.api.access import AdminOfAll, Viewer
from orchestrator.api.context import Here, note
from orchestrator.api.errors import Refused, Wrong
from orchestrator.api.models import QueueId
from orchestrator.api.routes.responses import fails
from orchestrator.store.records import QueueRecord
from workers.errors import InputError

router = APIRouter(prefix="/v1/queues", tags=["queues"])


@router.get("", responses=fails())
def queues(here: Here, caller: Viewer) -> models.Queues:
    """All queues that the token shows."""
    with here.database.reading() as tx:
        found = tx.queues.all()
    return models.Queues(queues=[views.queue(queue) for queue in found if caller.sees(queue.id)])


@router.get("/{queue}", responses=fails(404))
def get_queue(queue: QueueId, here: Here, caller: Viewer) -> models.Queue:
    """One queue."""
    if not caller.sees(queue):
        raise Refused(404, "there is no such queue", where=queue, why=f"queue {queue} is another tenant's")
    with here.database.reading() as tx:
        try:
            return views.queue(tx.queues.get(queue))
        except InputError as error:
            raise Wrong(404, "there is no such queue", where=queue) from error


@router.put("/{queue}", responses=fails())
def put_queue(
    queue: QueueId, settings: models.QueueSettings, here: Here, caller: AdminOfAll, request: Request
) -> models.Queue:
    """Add a queue, or replace its settings."""
    said = settings.model_dump(mode="json")
    record = QueueRecord(id=queue, **said)
    with here.database.transaction() as tx:
        tx.queues.put(record)
        note(tx, request, "queue", queue, str(said))
    here.wake()
    return views.queue(record)


@router.delete("/{queue}", status_code=204, response_class=Response, responses=fails(404, 409))
def delete_queue(queue: QueueId, here: Here, caller: AdminOfAll, request: Request) -> Response:
    """Remove a queue that nothing is in."""
    with here.database.transaction() as tx:
        if queue not in {each.id for each in tx.queues.all()}:
            raise Wrong(404, "there is no such queue", where=queue)
        try:
            tx.queues.delete(queue)
        except InputError as error:
            raise Wrong(409, error.what, where=error.where, fix=error.fix) from error
        note(tx, request, "delete queue", queue)
    here.wake()
    return Response(status_code=204)
