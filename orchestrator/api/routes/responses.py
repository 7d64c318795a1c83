"""How requests can fail, for the API's description."""

from __future__ import annotations

from typing import Any

from orchestrator.api.models import Error

_WORDS = {
    400: "The path, or the body, cannot be read.",
    401: "There is no token, or it is not good.",
    403: "The token's role does not allow it, or a page of another site asks.",
    404: "There is no such thing, or the token's queues do not show it.",
    409: "It contradicts what is there.",
    413: "The body is too large.",
    415: "The body is of another type.",
    421: "The service is not called by this name.",
    422: "The request says something that makes no sense.",
    429: "Too many follow already.",
    503: "A system that the service needs does not answer; try again.",
}


def fails(*more: int) -> dict[int | str, dict[str, Any]]:
    """All endpoints can fail in some ways, and this one in `more`."""
    return {
        status: {"model": Error, "description": _WORDS[status]}
        for status in sorted({400, 401, 403, 413, 421, 422, 503, *more})
    }
