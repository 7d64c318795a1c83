"""The door: what is looked at before a request's body is read, or anything else of it is believed."""

from __future__ import annotations

import re
import time
from typing import Any

from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from orchestrator.api.binding import host_name, is_same_origin
from orchestrator.api.context import Context
from orchestrator.api.errors import Refused, answer
from workers.errors import LockstepError

#: Whoever calls may read these: they tell nothing of anybody.
OPEN = frozenset({"/healthz", "/openapi.json"})
_SECRET = re.compile(r"Bearer ([A-Za-z0-9_\-]{1,200})")
#: Nothing that is served has these in its path; who sends them hopes to leave it.
_TRICKS = re.compile(rb"\.\.|%2e|%2f|%5c|%00|//|\\", re.IGNORECASE)


class Door:
    """Middleware: Host, Origin, path, length of the body, token; in this order.

    What it finds of the token is `request.state.caller` and `request.state.secret`.
    """

    def __init__(self, app: ASGIApp, context: Context) -> None:
        self._app, self._context = app, context

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        if scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})
            return
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request = Request(scope)
        try:
            limit = self._look(scope)
            await self._let_in(scope, request)
        except Refused as refusal:
            response = await self._context.refuse(request, refusal)
            await response(scope, receive, send)
        except LockstepError as error:
            await answer(error)(scope, receive, send)
        else:
            await self._app(scope, _counted(receive, limit), send)

    def _look(self, scope: Scope) -> int:
        """All that the headers tell; returns how many bytes of a body are let in."""
        headers, config = Headers(scope=scope), self._context.config
        host = headers.get("host", "")
        if host_name(host) not in config.names:
            fix = "call it by one of its names; `lockstep serve --name` adds one"
            raise Refused(421, "this service is not called so", where=f"Host: {host[:100]}", fix=fix)
        origin = headers.get("origin")
        if (origin is not None and not is_same_origin(origin, host)) or headers.get(
            "sec-fetch-site", "same-origin"
        ) not in ("same-origin", "none"):
            raise Refused(403, "pages of other sites may not ask here", where=f"Origin: {str(origin)[:100]}")
        if _TRICKS.search(scope.get("raw_path") or b""):
            raise Refused(400, "no path is written like this", where="path")
        limit = config.bundle_bytes_max if scope["path"].startswith("/v1/bundles/") else config.body_bytes_max
        length = headers.get("content-length")
        if length is not None and (not length.isdecimal() or int(length) > limit):
            raise too_large(limit)
        return limit

    async def _let_in(self, scope: Scope, request: Request) -> None:
        if scope["path"] in OPEN:
            return
        header = request.headers.get("authorization", "")
        match = _SECRET.fullmatch(header)
        if match is None:
            what = "there is no token" if not header else "this is no token"
            fix = "send `Authorization: Bearer TOKEN`; `lockstep token create` makes one"
            raise Refused(401, what, fix=fix)
        state: dict[str, Any] = scope.setdefault("state", {})
        state["secret"] = match[1]
        identities, now = self._context.identities, time.time()
        caller = identities.remembered(match[1], now)
        state["caller"] = caller or await identities.ask(match[1], now)


def too_large(limit: int) -> Refused:
    """More than is let in."""
    return Refused(413, f"more than {limit:,} bytes", where="body", fix="send less")


def _counted(receive: Receive, limit: int) -> Receive:
    """A body that ends in a refusal where it is longer than allowed, whatever its headers said."""
    count = 0

    async def counted() -> Message:
        nonlocal count
        message = await receive()
        count += len(message.get("body", b""))
        if count > limit:
            raise too_large(limit)
        return message

    return counted
