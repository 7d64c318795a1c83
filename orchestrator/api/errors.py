"""Errors on the wire: one JSON shape, `{"error": {"what", "where", "fix"}}`, as in `workers.errors`."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from workers.errors import AccessError, LockstepError, UnreachableError


class Refused(HTTPException):
    """A request that is refused for who makes it, or how. It is noted in the audit log.

    Args:
        status: HTTP's.
        what, where, fix: for the caller.
        why: for the audit log, where that is more than the caller may know.
    """

    def __init__(
        self, status: int, what: str, *, where: str | None = None, fix: str | None = None, why: str = ""
    ) -> None:
        super().__init__(status, what)
        self.what, self.where, self.fix, self.why = what, where, fix, why or what


class Wrong(HTTPException):
    """A request that cannot be served as it is: nothing that an audit would want to know."""

    def __init__(self, status: int, what: str, *, where: str | None = None, fix: str | None = None) -> None:
        super().__init__(status, what)
        self.what, self.where, self.fix = what, where, fix


def body(what: str, where: str | None = None, fix: str | None = None) -> dict[str, Any]:
    """The one shape."""
    return {"error": {"what": what, "where": where, "fix": fix}}


def reply(content: dict[str, Any], status: int, headers: Mapping[str, str] | None = None) -> JSONResponse:
    """A response in JSON. It may quote what was sent, which need not be Unicode: so it is ASCII."""
    return _Ascii(content, status, headers=headers)


class _Ascii(JSONResponse):
    def render(self, content: Any) -> bytes:
        return json.dumps(content, ensure_ascii=True).encode()


def answer(error: HTTPException | LockstepError) -> JSONResponse:
    """An error as a response."""
    if isinstance(error, Refused | Wrong):
        headers = {"WWW-Authenticate": "Bearer"} if error.status_code == 401 else None
        content = body(error.what, error.where, error.fix)
        return reply(content, error.status_code, headers=headers)
    if isinstance(error, HTTPException):
        headers = dict(error.headers) if error.headers else None
        return reply(body(str(error.detail)), error.status_code, headers=headers)
    if isinstance(error, UnreachableError | AccessError):  # a system of ours, none of the caller's
        return reply(body(error.what, error.where, error.fix), 503, headers={"Retry-After": "1"})
    return reply(body(error.what, error.where, error.fix), 422)


def explain(problems: Sequence[Any]) -> dict[str, Any]:
    """What pydantic found wrong with a request, as one error."""
    where = [".".join(str(part) for part in problem["loc"]) for problem in problems]
    if len(problems) == 1:
        return body(problems[0]["msg"], where[0], "see the API's description at /openapi.json")
    lines = [f"{place}: {problem['msg']}" for place, problem in zip(where, problems, strict=True)]
    return body("\n".join(lines), None, "see the API's description at /openapi.json")
