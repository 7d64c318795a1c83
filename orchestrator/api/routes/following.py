"""What happened to a job, and what it wrote: in pages, or live."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Annotated, Any

from fastapi import APIRouter, Header, Query, Request
from fastapi.responses import Response, StreamingResponse
from starlette.concurrency import run_in_threadpool

from orchestrator.api import models, views
from orchestrator.api.access import Caller, Viewer
from orchestrator.api.context import Context, Here, find_job
from orchestrator.api.errors import Refused, Wrong
from orchestrator.api.live import News, stream
from orchestrator.api.models import JobRef
from orchestrator.api.routes.responses import fails

router = APIRouter(prefix="/v1/jobs/{job}", tags=["following"])

_EVENTS_AT_ONCE = 500
_LOG_BYTES_AT_ONCE = 64 * 1024

_After = Annotated[int, Query(ge=0, le=2**53, description="What comes after this.")]
_Limit = Annotated[int, Query(ge=1, le=1000, description="How many at most, in a page.")]
_Follow = Annotated[bool, Query(description="Stream what there is and what happens, until the job is over.")]
_LastId = Annotated[
    str | None, Header(alias="Last-Event-ID", description="Of a stream: counts more than `after`.")
]
_STREAMS: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "A page; or with `follow`, or `Accept: text/event-stream`, server-sent events. The id "
        "of each is its number; `end` is the last.",
        "content": {"text/event-stream": {"schema": {"type": "string"}}},
    }
}


@router.get("/events", response_model=models.Events, responses={**_STREAMS, **fails(404, 429)})
async def events(
    job: JobRef,
    here: Here,
    caller: Viewer,
    request: Request,
    after: _After = 0,
    limit: _Limit = 100,
    follow: _Follow = False,
    last_event_id: _LastId = None,
) -> models.Events | Response:
    """What happened to a job."""
    id = await run_in_threadpool(_id_of, here, job, caller)
    if not _live(request, follow):
        return await run_in_threadpool(_events, here, id, after, limit)

    def read(number: int) -> News:
        page = _events(here, id, number, _EVENTS_AT_ONCE)
        items = tuple((event.number, event.kind, event.model_dump(mode="json")) for event in page.events)
        return News(items=items, more=len(items) == _EVENTS_AT_ONCE, over=page.over)

    return _stream(here, request, read, last_event_id, after)


@router.get("/logs", response_model=models.Log, responses={**_STREAMS, **fails(404, 429)})
async def logs(
    job: JobRef,
    here: Here,
    caller: Viewer,
    request: Request,
    after: _After = 0,
    follow: _Follow = False,
    last_event_id: _LastId = None,
) -> models.Log | Response:
    """What a job's processes wrote."""
    id = await run_in_threadpool(_id_of, here, job, caller)
    if not _live(request, follow):
        return await run_in_threadpool(_log, here, id, after)

    def read(offset: int) -> News:
        piece = _log(here, id, offset)
        items = ((piece.next, "text", {"text": piece.text}),) if piece.text else ()
        return News(items=items, more=bool(items), over=piece.over)

    return _stream(here, request, read, last_event_id, after)


def _live(request: Request, follow: bool) -> bool:
    return follow or "text/event-stream" in request.headers.get("accept", "")


def _stream(
    here: Context, request: Request, read: Callable[[int], News], last: str | None, after: int
) -> StreamingResponse:
    if here.hub.followers >= here.config.followers_max:
        raise Wrong(429, f"{here.hub.followers} follow already", fix="try again later")
    if last is not None:
        if not last.isdecimal() or len(last) > 16:
            raise Wrong(422, "this is no event's number", where="Last-Event-ID", fix="send back what came")
        after = int(last)
    secret: str = request.state.secret

    def still() -> bool:
        try:
            here.identities.find(secret, time.time())
        except Refused:
            return False
        return True

    return stream(here.hub, read, after, still)


def _id_of(here: Context, job: str, caller: Caller) -> str:
    with here.database.reading() as tx:
        return find_job(tx, job, caller).id


def _events(here: Context, id: str, after: int, limit: int) -> models.Events:
    with here.database.reading() as tx:  # one moment: what is over has told all
        record = tx.jobs.get(id)
        found = tx.events.after(after, job=id, limit=limit)
    return models.Events(
        events=[views.event(event) for event in found],
        next=found[-1].number if found else after,
        over=views.is_over(record) and len(found) < limit,
    )


def _log(here: Context, id: str, after: int) -> models.Log:
    with here.database.reading() as tx:  # before the log: a job that is over writes nothing more
        over = views.is_over(tx.jobs.get(id))
    data = here.logs.read(id, after, _LOG_BYTES_AT_ONCE) if here.logs is not None else b""
    if len(data) == _LOG_BYTES_AT_ONCE:  # not in the middle of a line, nor of a character
        data = data[: data.rfind(b"\n") + 1] or data
    return models.Log(
        text=data.decode("utf-8", "replace"),
        next=after + len(data),
        over=over and not data,
    )
