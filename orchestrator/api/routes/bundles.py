"""The folders of jobs, on their way into the object store. Nothing of them is run here."""

from __future__ import annotations

import tempfile
import threading
import time
from typing import IO

from fastapi import APIRouter, Request, Response
from starlette.concurrency import run_in_threadpool

from orchestrator.api.access import Submitter
from orchestrator.api.context import Context, Here, note
from orchestrator.api.errors import Wrong
from orchestrator.api.models import Digest
from orchestrator.api.routes.responses import fails
from orchestrator.bundles import Bundle, is_stored, keep, verify
from workers.errors import AccessError, InputError

router = APIRouter(prefix="/v1/bundles", tags=["bundles"])

_MEMORY_BYTES_MAX = 1_000_000
#: A bundle is in memory while it is looked at: one at a time.
_looking = threading.Lock()
_BODY = {
    "requestBody": {
        "required": True,
        "content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}},
    }
}


@router.head("/{digest}", status_code=204, response_class=Response, responses=fails(404))
def has_bundle(digest: Digest, here: Here, caller: Submitter) -> Response:
    """Whether a bundle need not be sent: 204, or 404."""
    if not _is_here(here, digest):
        raise Wrong(404, "this bundle is not here", where=digest)
    return Response(status_code=204)


@router.put("/{digest}", status_code=204, response_class=Response, responses=fails(404), openapi_extra=_BODY)
async def put_bundle(digest: Digest, here: Here, caller: Submitter, request: Request) -> Response:
    """Send a job's folder, as `orchestrator.bundles.pack` makes it."""
    spool = None if here.config.spool is None else str(here.config.spool)
    with tempfile.SpooledTemporaryFile(max_size=_MEMORY_BYTES_MAX, dir=spool) as file:
        async for chunk in request.stream():
            await run_in_threadpool(file.write, chunk)
        await run_in_threadpool(_keep, here, request, digest, file)
    return Response(status_code=204)


def _is_here(here: Context, digest: str) -> bool:
    with here.database.reading() as tx:
        if tx.bundles.stored(digest) is not None:
            return True
    return is_stored(here.bundles, digest)


def _keep(here: Context, request: Request, digest: str, file: IO[bytes]) -> None:
    with _looking:
        file.seek(0)
        data = file.read()
        try:
            entries = verify(data, digest)
        except AccessError:
            raise
        except InputError as error:
            raise Wrong(422, error.what, where=error.where, fix=error.fix) from error
        new = keep(here.bundles, Bundle(sha256=digest, data=data, files=len(entries)))
    with here.database.transaction() as tx:
        tx.bundles.add(digest, len(data), now=time.time())
        if new:
            note(tx, request, "bundle", digest, f"{len(data):,} bytes")
