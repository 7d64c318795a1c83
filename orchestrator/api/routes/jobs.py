"""Jobs: hand in, list, look at, and say why they wait."""

from __future__ import annotations

import time
from typing import Annotated

from fastapi import APIRouter, Query, Request, Response
from pydantic import Field

from orchestrator.api import models, views
from orchestrator.api.access import Caller, Submitter, Viewer
from orchestrator.api.context import Context, Here, find_job, note
from orchestrator.api.errors import Refused, Wrong
from orchestrator.api.models import Cursor, JobRef, PageLimit
from orchestrator.api.routes.responses import fails
from orchestrator.api.submission import read_spec
from orchestrator.bundles import is_stored
from orchestrator.records.facts import JobState
from orchestrator.store.records import Submission
from workers.errors import InputError

router = APIRouter(prefix="/v1", tags=["jobs"])

_States = Annotated[list[JobState] | None, Query(description="Only jobs in these; may be given again.")]
_Queues = Annotated[
    list[Annotated[str, Field(max_length=63)]] | None, Query(description="Only of these; may be given again.")
]
_User = Annotated[str | None, Query(max_length=100, description="Only theirs.")]


@router.post(
    "/jobs",
    status_code=201,
    response_model=models.Job,
    responses={
        200: {"model": models.Job, "description": "The key has handed it in before."},
        **fails(404, 409),
    },
)
def submit(new: models.NewJob, here: Here, caller: Submitter, request: Request) -> Response:
    """Hand in a job. Once this has answered, the job is durable. 200: the key has handed it in before."""
    spec = read_spec(new.spec)
    submission = Submission(
        name=spec.name,
        queue=spec.queue,
        user=caller.user,
        priority=spec.priority,
        min_workers=spec.workers.min,
        max_workers=spec.workers.max,
        spec=spec.model_dump(mode="json"),
        bundle=new.bundle,
        key=new.key,
        start=new.start,
    )
    _check_bundle(here, new.bundle)
    _check_queue(spec.queue, caller)
    with here.database.transaction() as tx:
        try:
            record, created = tx.jobs.submit(submission, now=time.time())
        except InputError as error:
            status = 422 if error.where in ("queue", "workers") else 409
            raise Wrong(status, error.what, where=error.where, fix=error.fix) from error
        if created:
            note(tx, request, "submit", record.id, f"{spec.name} to queue {spec.queue}")
    if created:
        here.wake()
    # As text: many hand in at the same time, and another turn through the threads costs as much again.
    text = views.job(record).model_dump_json()
    return Response(text, 201 if created else 200, media_type="application/json")


@router.get("/jobs", responses=fails())
def jobs(
    here: Here,
    caller: Viewer,
    state: _States = None,
    queue: _Queues = None,
    user: _User = None,
    limit: PageLimit = 100,
    cursor: Cursor = None,
) -> models.Jobs:
    """Jobs, the newest first."""
    queues = visible(caller, queue)
    with here.database.reading() as tx:
        found = tx.jobs.page(states=state, queues=queues, user=user, limit=limit + 1, before=cursor)
    shown = found[:limit]
    return models.Jobs(
        jobs=[views.job(record) for record in shown],
        next=shown[-1].number if len(found) > limit else None,
    )


@router.get("/jobs/{job}", responses=fails(404))
def job(job: JobRef, here: Here, caller: Viewer) -> models.Job:
    """One job."""
    with here.database.reading() as tx:
        return views.job(find_job(tx, job, caller))


@router.get("/jobs/{job}/explain", responses=fails(404))
def explain(job: JobRef, here: Here, caller: Viewer) -> models.Why:
    """Why a job waits, and what would have to change."""
    with here.database.reading() as tx:
        return views.why(find_job(tx, job, caller))


def visible(caller: Caller, asked: list[str] | None) -> list[str] | None:
    """Of the queues that were asked for, those that the caller sees; None for all."""
    if caller.queues is None:
        return asked
    return sorted(caller.queues if asked is None else caller.queues & set(asked))


def _check_queue(queue: str, caller: Caller) -> None:
    if not caller.sees(queue):
        mine = ", ".join(sorted(caller.queues or ()))
        why = f"queue {queue} is not among those of token {caller.token}"
        raise Refused(403, f"your token is not good for queue {queue}", fix=f"use one of {mine}", why=why)


def _check_bundle(here: Context, digest: str | None) -> None:
    if digest is None:
        return
    with here.database.reading() as tx:
        known = tx.bundles.stored(digest) is not None
    if not known and not is_stored(here.bundles, digest):
        fix = f"send it first: PUT /v1/bundles/{digest}"
        raise Wrong(409, "this bundle is not here", where="bundle", fix=fix)
