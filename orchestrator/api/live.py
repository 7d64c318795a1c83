"""Live followers: server-sent events that lose nothing and double nothing, however often somebody reconnects.

Each event on the wire carries its number as id; who comes back with `Last-Event-ID` gets what follows it. The
number of an event is its row's in the database, so it is the same after a restart of the server.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

from fastapi.responses import StreamingResponse
from fastapi.sse import format_sse_event
from starlette.concurrency import run_in_threadpool

from workers.errors import LockstepError

_LOOK_SECONDS = 0.2  # between looks at the newest event, one for all followers together
_LISTEN_SECONDS = 1.0  # a follower looks for itself at least so often
_ALIVE_SECONDS = 15.0  # proxies close what is silent for long
_HEADERS = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no"}


class Hub:
    """Rings for all followers when something has happened.

    Args:
        newest: the number of the newest event.
    """

    def __init__(self, newest: Callable[[], int]) -> None:
        self._newest = newest
        self._bell = asyncio.Event()
        self._watch: asyncio.Task[None] | None = None
        self.followers = 0

    @contextmanager
    def following(self) -> Iterator[None]:
        """As long as the block runs there is somebody to ring for."""
        self.followers += 1
        if self._watch is None or self._watch.done():
            self._watch = asyncio.get_running_loop().create_task(self._look())
        try:
            yield
        finally:
            self.followers -= 1

    def bell(self) -> asyncio.Event:
        """Set at the next change. Take it before looking, so that no change falls between."""
        return self._bell

    async def _look(self) -> None:
        seen = -1
        while self.followers:
            with suppress(LockstepError):  # followers meet it themselves
                number = await run_in_threadpool(self._newest)
                if number != seen:
                    seen = number
                    self._bell.set()
                    self._bell = asyncio.Event()
            await asyncio.sleep(_LOOK_SECONDS)


@dataclass(frozen=True, kw_only=True)
class News:
    """What a follower has not seen yet.

    Attributes:
        items: number → what to send; numbers rise.
        more: there may be more at once.
        over: there will never be more.
    """

    items: tuple[tuple[int, str, Any], ...]
    more: bool = False
    over: bool = False


def stream(hub: Hub, read: Callable[[int], News], after: int, still: Callable[[], bool]) -> StreamingResponse:
    """Everything after a number, as it happens, until there will be no more.

    Args:
        read: what follows a number.
        still: whether the follower may still do so; asked now and then.
    """
    return StreamingResponse(
        _frames(hub, read, after, still), media_type="text/event-stream", headers=_HEADERS
    )


async def _frames(
    hub: Hub, read: Callable[[int], News], after: int, still: Callable[[], bool]
) -> AsyncIterator[bytes]:
    with hub.following():
        yield format_sse_event(comment="lockstep", retry=1000)
        alive = time.monotonic()
        while True:
            bell = hub.bell()
            try:
                news = await run_in_threadpool(read, after)
            except LockstepError:  # the database is away: the follower comes back
                return
            for number, kind, data in news.items:
                yield format_sse_event(
                    event=kind, id=str(number), data_str=json.dumps(data, ensure_ascii=False, allow_nan=False)
                )
                after = number
            if news.more:
                continue
            if news.over:
                yield format_sse_event(event="end", data_str="{}", id=str(after))
                return
            with suppress(TimeoutError):
                async with asyncio.timeout(_LISTEN_SECONDS):
                    await bell.wait()
            if time.monotonic() - alive > _ALIVE_SECONDS:
                alive = time.monotonic()
                if not await run_in_threadpool(still):
                    return
                yield format_sse_event(comment="")
