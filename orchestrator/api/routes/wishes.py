"""What is wished of a job: noted at once, carried out by the control loop."""

from __future__ import annotations

import time
from typing import Any

from fastapi import APIRouter, Request

from orchestrator.api import models, views
from orchestrator.api.access import Submitter
from orchestrator.api.context import Context, Here, find_my_job, note
from orchestrator.api.errors import Wrong
from orchestrator.api.models import JobRef
from orchestrator.api.routes.responses import fails
from orchestrator.api.submission import sizes_fit
from orchestrator.store.states import Intent
from workers.errors import InputError

router = APIRouter(prefix="/v1/jobs/{job}", tags=["wishes"], responses=fails(404, 409))


@router.post("/resize")
def resize(job: JobRef, size: models.Resize, here: Here, caller: Submitter, request: Request) -> models.Job:
    """Give a job more or fewer workers, now and whenever it starts again."""
    sizes = {"min_workers": size.min_workers, "max_workers": size.max_workers}
    if size.workers is not None:
        sizes = {"min_workers": size.workers, "max_workers": size.workers}
    changes = {name: value for name, value in sizes.items() if value is not None}
    return _wish(here, request, caller, job, "resize", changes)


@router.post("/pause")
def pause(job: JobRef, here: Here, caller: Submitter, request: Request) -> models.Job:
    """Let a job save and give its room back, until it is resumed."""
    return _wish(here, request, caller, job, "pause", {"intent": Intent.PAUSE})


@router.post("/resume")
def resume(job: JobRef, here: Here, caller: Submitter, request: Request) -> models.Job:
    """Let a paused job wait for room again, and go on."""
    return _wish(here, request, caller, job, "resume", {"intent": Intent.RUN})


@router.post("/cancel")
def cancel(job: JobRef, here: Here, caller: Submitter, request: Request) -> models.Job:
    """End a job; it saves first if it can."""
    return _wish(here, request, caller, job, "cancel", {"intent": Intent.CANCEL})


@router.post("/save")
def save(job: JobRef, here: Here, caller: Submitter, request: Request) -> models.Job:
    """Let a running job make a checkpoint at its next step."""
    with here.database.transaction() as tx:
        record = find_my_job(tx, job, caller)
        note(tx, request, "save", record.id)
    try:
        here.needs_control().save(record.id)
    except InputError as error:
        raise Wrong(409, error.what, where=error.where, fix=error.fix) from error
    return views.job(record)


def _wish(
    here: Context, request: Request, caller: Submitter, job: str, action: str, changes: dict[str, Any]
) -> models.Job:
    with here.database.transaction() as tx:
        record = find_my_job(tx, job, caller)
        if "max_workers" in changes:
            sizes_fit(record.submission.spec, changes["max_workers"])
        try:
            record = tx.jobs.wish(record.id, who=caller.user, now=time.time(), **changes)
        except InputError as error:
            raise Wrong(409, error.what, where=error.where, fix=error.fix) from error
        detail = ", ".join(f"{name}={value}" for name, value in changes.items() if name != "intent")
        note(tx, request, action, record.id, detail)
    here.wake()
    return views.job(record)
