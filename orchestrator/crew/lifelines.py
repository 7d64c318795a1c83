"""Connections to workers that carry nothing: one that closes says at once that its worker is gone.

Ray finds out by itself, and knows why, but a tenth of a second later. The connection is to the rendezvous
store that every worker serves; its machine closes it when the process ends, however that comes about. Of a
worker on this machine it is known even before, see `workers.lifesign`.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from contextlib import closing, suppress

from orchestrator.crew.dying import Dying
from workers import lifesign, stacks

_CONNECT_SECONDS = 5.0
_BYTES = 1024


class Lifelines:
    """One connection to each worker, watched in a thread.

    Args:
        closed: called in that thread with a worker whose connection has closed; perhaps a second time, with
            its last words. Not for one that could not be connected to: nothing follows from that.
    """

    def __init__(self, closed: Callable[[Dying], None]) -> None:
        self._closed = closed
        self._loop = asyncio.new_event_loop()
        self._tasks: dict[str, asyncio.Task[None]] = {}
        threading.Thread(target=self._loop.run_forever, name="lifelines", daemon=True).start()

    def watch(self, worker: str, address: str) -> None:
        """Connect to what a worker serves at `host:port`. Does not wait."""
        self._loop.call_soon_threadsafe(self._begin, worker, address)

    def watch_here(self, worker: str, pid: int) -> None:
        """Watch a process on this machine too. Does not wait; one that gives no sign is not watched."""
        is_dying, last_words = lifesign.watch(pid), stacks.last_words(pid)

        def look() -> None:
            if is_dying is not None and is_dying():
                self._loop.call_soon_threadsafe(self._end_with, Dying(worker=worker, words=last_words()))

        threading.Thread(target=look, name=f"lifesign-{worker}", daemon=True).start()

    def forget(self, worker: str) -> None:
        """Close a worker's connection, if there is one; nothing will be said of it any more."""
        self._loop.call_soon_threadsafe(self._end, worker)

    def close(self) -> None:
        """Forget all workers."""
        self._loop.call_soon_threadsafe(self._end_all)

    def _begin(self, worker: str, address: str) -> None:
        self._end(worker)
        self._tasks[worker] = self._loop.create_task(self._watch(worker, address))

    def _end(self, worker: str) -> None:
        if worker in self._tasks:
            self._tasks.pop(worker).cancel()

    def _end_with(self, dying: Dying) -> None:
        """A watched process is dying, unless it was forgotten."""
        if dying.worker in self._tasks:
            self._end(dying.worker)
            self._closed(dying)

    def _end_all(self) -> None:
        for worker in list(self._tasks):
            self._end(worker)

    async def _watch(self, worker: str, address: str) -> None:
        host, port = address.rsplit(":", 1)
        try:
            async with asyncio.timeout(_CONNECT_SECONDS):  # `wait_for` may swallow a cancellation
                reader, writer = await asyncio.open_connection(host, int(port))
            with closing(writer), suppress(OSError):  # reset: as good as closed
                while await reader.read(_BYTES):
                    pass
        except ConnectionResetError:  # just when it was made
            pass
        except OSError:  # a timeout is one
            return
        self._closed(Dying(worker=worker))
