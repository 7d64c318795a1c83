"""Requests to a server: retried where that is safe, and errors as `workers.errors` has them."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Self

import httpx

from orchestrator.client.servers import Target
from orchestrator.client.sse import Message, parse
from workers.errors import AccessError, InputError, LockstepError, UnreachableError

_CONNECT_SECONDS = 5.0
_READ_SECONDS = 60.0  # a stream says something every 15 s
_PAUSE_SECONDS, _PAUSE_SECONDS_MAX = 0.1, 2.0
_AGAIN = frozenset({502, 503, 504})  # what a proxy says, and the server, while something of theirs is away


class Wire:
    """A connection to a server that may be restarted meanwhile.

    Args:
        find: which server, and what lets us in; asked again when it does not answer, since one that is
            started again may be elsewhere.
        patience: seconds that a server may be away.
    """

    def __init__(self, find: Callable[[], Target], patience: float) -> None:
        self._find, self._patience = find, patience
        self._target = find()
        self._http = _connect(self._target)

    def close(self) -> None:
        """Nothing is asked after this."""
        self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def get(self, path: str, **query: Any) -> Any:
        """What the server has at a path, as JSON."""
        return self._json("GET", path, params=_given(query))

    def post(self, path: str, content: Mapping[str, Any] | None = None, *, again: bool = True) -> Any:
        """Ask for something.

        Args:
            again: it does no harm to ask twice, if nobody knows whether the first time counted.
        """
        return self._json("POST", path, json=None if content is None else dict(content), again=again)

    def put(self, path: str, content: Mapping[str, Any]) -> Any:
        """Say what should be at a path."""
        return self._json("PUT", path, json=dict(content))

    def delete(self, path: str) -> Any:
        """Have what is at a path removed."""
        return self._json("DELETE", path)

    def has(self, path: str) -> bool:
        """Whether something is there."""
        response = self._request("HEAD", path)
        if response.status_code == 404:
            return False
        _check(response)
        return True

    def upload(self, path: str, data: bytes) -> None:
        """Send bytes."""
        _check(self._request("PUT", path, content=data, headers={"Content-Type": "application/octet-stream"}))

    def follow(self, path: str, after: int = 0) -> Iterator[Message]:
        """A stream of events to its end, across any number of broken connections; each event once."""
        last, away_since = after, None
        while True:
            try:
                for message in self._stream(path, last):
                    away_since = None
                    if message.id is not None:
                        last = message.id
                    if message.event == "end":
                        return
                    yield message
            except (httpx.TransportError, _Away) as error:
                now = time.monotonic()
                away_since = away_since or now
                if now - away_since > self._patience:
                    raise self._unreachable(error) from error
                self._look_again()
            time.sleep(_PAUSE_SECONDS)

    def _stream(self, path: str, after: int) -> Iterator[Message]:
        headers = {"Accept": "text/event-stream", "Last-Event-ID": str(after)}
        with self._http.stream("GET", path, headers=headers, params={"follow": "true"}) as response:
            if response.status_code in _AGAIN:
                raise _Away(f"it answers {response.status_code}")
            if response.is_error:
                response.read()
                _check(response)
            yield from parse(response.iter_lines())

    def _json(self, method: str, path: str, **request: Any) -> Any:
        response = self._request(method, path, **request)
        _check(response)
        return response.json() if response.content else None

    def _request(self, method: str, path: str, *, again: bool = True, **request: Any) -> httpx.Response:
        give_up_at, pause = time.monotonic() + self._patience, _PAUSE_SECONDS
        while True:
            try:
                response = self._http.request(method, path, **request)
            except httpx.TransportError as error:
                # A connection that was never made did nothing: that is always safe to try again.
                if (again or isinstance(error, httpx.ConnectError)) and time.monotonic() < give_up_at:
                    time.sleep(pause)
                    pause = min(2 * pause, _PAUSE_SECONDS_MAX)
                    self._look_again()
                    continue
                raise self._unreachable(error) from error
            if response.status_code in _AGAIN and again and time.monotonic() < give_up_at:
                time.sleep(pause)
                pause = min(2 * pause, _PAUSE_SECONDS_MAX)
                continue
            return response

    def _look_again(self) -> None:
        try:
            target = self._find()
        except LockstepError:  # its file is not there yet
            return
        if target != self._target:  # the old connection is left alone: other threads may be using it
            self._target, self._http = target, _connect(target)

    def _unreachable(self, error: Exception) -> UnreachableError:
        fix = "see whether it runs, and whether --server or LOCKSTEP_SERVER is right"
        return UnreachableError(f"the server does not answer: {error}", where=self._target.url, fix=fix)


class _Away(Exception):
    """The server, or what it stands on, is away for a while."""


def _connect(target: Target) -> httpx.Client:
    import ssl

    local = target.url.startswith("http://")  # loopback: no proxy of the environment leads there
    verify: Any = ssl.create_default_context(cafile=target.certificate) if target.certificate else True
    return httpx.Client(
        base_url=target.url,
        headers={"Authorization": f"Bearer {target.token}"},
        timeout=httpx.Timeout(_READ_SECONDS, connect=_CONNECT_SECONDS),
        verify=verify,
        trust_env=not local,
        follow_redirects=False,  # a token is for one server
    )


def _check(response: httpx.Response) -> None:
    """Raise what the server answered, if that is an error."""
    if not response.is_error and not response.is_redirect:
        return
    try:
        error = json.loads(response.content)["error"]
        what, where, fix = error["what"], error["where"], error["fix"]
    except (ValueError, KeyError, TypeError):
        what, where, fix = (
            f"it answers {response.status_code} {response.reason_phrase}",
            str(response.url),
            None,
        )
    if response.status_code in (401, 403):
        raise AccessError(what, where=where, fix=fix)
    if response.status_code < 500 and not response.is_redirect:
        raise InputError(what, where=where, fix=fix)
    raise UnreachableError(what, where=where, fix=fix)


def _given(query: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in query.items() if value is not None}
