"""The application: endpoints, the door before them, and one shape for all errors."""

from __future__ import annotations

import logging
import math
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from importlib.metadata import version

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException

from orchestrator.api.config import Config, Control, Logs
from orchestrator.api.context import Context
from orchestrator.api.door import Door
from orchestrator.api.errors import Refused, answer, body, explain, reply
from orchestrator.api.identity import Identities
from orchestrator.api.live import Hub
from orchestrator.api.routes import bundles as bundle_routes
from orchestrator.api.routes import cluster, following, health, jobs, queues, tokens, wishes
from orchestrator.store.database import Database
from workers.errors import LockstepError
from workers.storage import Store

_ABOUT = """\
Submit jobs, follow them, and say what is wished of them. All but /healthz and this page want a token:
`Authorization: Bearer TOKEN`. A token has a role (viewer, submitter, admin) and is good for some queues or
for all; what is in other queues does not exist for it. Every request that fails is answered with
`{"error": {"what", "where", "fix"}}`."""


def create_app(
    database: Database,
    *,
    wake: Callable[[], None],
    bundles: Store,
    config: Config | None = None,
    control: Control | None = None,
    logs: Logs | None = None,
) -> FastAPI:
    """The API of one service.

    Args:
        database: where all that is asked for is noted.
        wake: called after a change, in any thread: the control loop should look at once.
        bundles: where the folders of jobs are kept.
        control: what only the loop knows; without it, some requests are answered with 503.
        logs: what jobs wrote.
    """

    def newest() -> int:
        with database.reading() as tx:
            return tx.events.newest()

    config = config or Config()
    context = Context(
        database=database,
        wake=wake,
        bundles=bundles,
        config=config,
        hub=Hub(newest),
        identities=Identities(database, config.token_seconds),
        control=control,
        logs=logs,
    )

    @asynccontextmanager
    async def life(app: FastAPI) -> AsyncIterator[None]:
        yield
        with suppress(LockstepError):  # what was counted since the last minute's end is all that is lost
            await run_in_threadpool(context.note_refusals, math.inf)

    app = FastAPI(
        lifespan=life,
        title="Lockstep",
        version=version("lockstep"),
        description=_ABOUT,
        docs_url=None,  # these pages load scripts of other sites
        redoc_url=None,
        redirect_slashes=False,
    )
    app.state.context = context
    for module in (jobs, wishes, following, bundle_routes, queues, cluster, tokens, health):
        app.include_router(module.router)
    app.add_middleware(Door, context=context)
    _handle_errors(app, context)
    return app


def _handle_errors(app: FastAPI, context: Context) -> None:
    @app.exception_handler(Refused)
    async def refused(request: Request, error: Refused) -> JSONResponse:
        return await context.refuse(request, error)

    @app.exception_handler(HTTPException)
    async def wrong(request: Request, error: HTTPException) -> JSONResponse:
        return answer(error)

    @app.exception_handler(LockstepError)
    async def failed(request: Request, error: LockstepError) -> JSONResponse:
        return answer(error)

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError) -> JSONResponse:
        problems = error.errors()
        if any(problem["loc"][0] == "path" for problem in problems):
            await context.refuse(request, Refused(422, "a path that names nothing"))
        return reply(explain(problems), 422)

    @app.exception_handler(Exception)
    async def broken(request: Request, error: Exception) -> JSONResponse:
        logging.getLogger(__name__).error("%s %s failed", request.method, request.url.path, exc_info=error)
        return reply(body("the service failed; its log says why", fix="report this"), 500)
