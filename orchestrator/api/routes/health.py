"""For whoever watches the service: health and metrics."""

from __future__ import annotations

from importlib.metadata import version
from typing import Any

from fastapi import APIRouter
from fastapi.responses import Response

from orchestrator.api.access import ViewerOfAll
from orchestrator.api.context import Here
from orchestrator.api.models import Error, Health
from orchestrator.api.routes.responses import fails

router = APIRouter(tags=["health"])

_TEXT: dict[int | str, dict[str, Any]] = {200: {"content": {"text/plain": {"schema": {"type": "string"}}}}}


@router.get("/healthz", responses={503: {"model": Error}})
def healthz(here: Here) -> Health:
    """Whether service and database answer. Needs no token."""
    with here.database.reading() as tx:
        tx.events.newest()
    return Health(version=version("lockstep"))


@router.get("/metrics", response_class=Response, responses={**_TEXT, **fails()})
def metrics(here: Here, caller: ViewerOfAll) -> Response:
    """All metrics, for Prometheus."""
    return Response(here.needs_control().metrics(), media_type="text/plain; version=0.0.4; charset=utf-8")
