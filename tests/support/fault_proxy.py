"""An HTTP proxy in front of a store that answers wrongly, slowly or not at all, when it is told to.

It forwards requests as they are, so signatures still fit: clients sign for the address that they call.
"""

from __future__ import annotations

import asyncio
import re
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from enum import StrEnum
from urllib.parse import urlsplit

_CHUNK_BYTES = 1 << 14
_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_CHUNKED = re.compile(rb"\r\ntransfer-encoding: *chunked", re.IGNORECASE)
_NO_BODY = (b" 204 ", b" 304 ")
_REFUSAL = b"HTTP/1.1 %s\r\ncontent-length: %d\r\ncontent-type: application/xml\r\n\r\n%s"
_CLOSED = (OSError, asyncio.IncompleteReadError)


class Fault(StrEnum):
    """What can happen to a request that reads."""

    BUSY = "503"
    CUT = "the connection ends in the middle of the body"
    SHORT = "half of the body, said to be all of it"
    STALL = "no answer, ever"
    CLOSE = "the connection ends without an answer"
    DENIED = "403"


_ANSWERS = {
    Fault.BUSY: (b"503 Slow Down", b"<Error><Code>SlowDown</Code></Error>"),
    Fault.DENIED: (b"403 Forbidden", b"<Error><Code>AccessDenied</Code></Error>"),
}


@dataclass(kw_only=True)
class FaultProxy:
    """A running proxy; set its attributes at any time, from any thread.

    Attributes:
        fault: what happens to requests that read, from now on; or to those of other `methods`.
        every: to each so-manieth of them.
        bytes_per_second: of all bodies together; None for no limit.
        harmed: how many requests each fault happened to.
        passed: how many were answered as they should be.
        waited_seconds: what the limit on speed has cost, all connections together.
    """

    endpoint: str
    fault: Fault | None = None
    methods: tuple[bytes, ...] = (b"GET",)
    every: int = 1
    bytes_per_second: float | None = None
    harmed: Counter[Fault] = field(default_factory=Counter)
    passed: int = 0
    waited_seconds: float = 0.0
    _upstream: tuple[str, int] = ("", 0)
    _reads: int = 0
    _free_at: float = 0.0  # when the line has carried all that was sent

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One client's connection, to its end."""
        with closing(writer), suppress(*_CLOSED):
            answers, upstream = await asyncio.open_connection(*self._upstream)
            with closing(upstream):
                while await self._exchange(reader, writer, answers, upstream):
                    pass

    async def _exchange(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        answers: asyncio.StreamReader,
        upstream: asyncio.StreamWriter,
    ) -> bool:
        """One request and its answer; False if the connection ends with it."""
        head = await reader.readuntil(b"\r\n\r\n")
        request = head + await reader.readexactly(_length(head))
        fault = self._choose(head)
        if fault is not None:
            self.harmed[fault] += 1
        match fault:
            case Fault.CLOSE:
                return False
            case Fault.STALL:
                await reader.read()  # until the client has had enough
                return False
            case Fault.BUSY | Fault.DENIED:
                status, why = _ANSWERS[fault]
                writer.write(_REFUSAL % (status, len(why), why))
                await writer.drain()
                return True
        upstream.write(request)
        answer = await answers.readuntil(b"\r\n\r\n")
        if _CHUNKED.search(answer):
            writer.write(answer)
            await self._chunks(answers, writer)
            self.passed += 1
            return True
        has_none = head.startswith(b"HEAD ") or any(code in answer.split(b"\r\n")[0] for code in _NO_BODY)
        length = 0 if has_none else _length(answer)
        half = length // 2 if fault is not None else length
        if fault is Fault.SHORT:
            answer = _LENGTH.sub(b"\r\ncontent-length: %d" % half, answer)
        writer.write(answer)
        await self._body(answers, writer, half)
        if fault is None:
            self.passed += 1
            return True
        await answers.readexactly(length - half)
        return fault is Fault.SHORT

    def _choose(self, head: bytes) -> Fault | None:
        if self.fault is None or head.split(b" ", 1)[0] not in self.methods:
            return None
        self._reads += 1
        return self.fault if self._reads % self.every == 0 else None

    async def _chunks(self, answers: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """A body of unknown length, as listings have."""
        while True:
            size = await answers.readuntil(b"\r\n")
            writer.write(size + await answers.readexactly(int(size.split(b";")[0], 16) + 2))
            if not int(size.split(b";")[0], 16):
                return await writer.drain()

    async def _body(self, answers: asyncio.StreamReader, writer: asyncio.StreamWriter, length: int) -> None:
        loop = asyncio.get_running_loop()
        while length:
            chunk = await answers.readexactly(min(length, _CHUNK_BYTES))
            length -= len(chunk)
            if self.bytes_per_second is not None:
                self._free_at = max(self._free_at, loop.time()) + len(chunk) / self.bytes_per_second
                self.waited_seconds += self._free_at - loop.time()
                await asyncio.sleep(self._free_at - loop.time())
            writer.write(chunk)
            await writer.drain()


def _length(head: bytes) -> int:
    """Of the body that follows, in bytes."""
    if b"transfer-encoding" in head.lower():
        raise ValueError(f"no length: {head!r}")
    found = _LENGTH.search(head)
    return int(found[1]) if found else 0


@contextmanager
def fault_proxy(endpoint: str) -> Iterator[FaultProxy]:
    """A proxy on loopback in front of an `http://` endpoint, in a thread of its own."""
    parts = urlsplit(endpoint)
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="fault-proxy", daemon=True)
    thread.start()

    async def start() -> tuple[FaultProxy, asyncio.Server]:
        proxy = FaultProxy(endpoint="", _upstream=(parts.hostname or "", parts.port or 80))
        server = await asyncio.start_server(proxy.serve, "127.0.0.1", 0, backlog=1024)
        proxy.endpoint = "http://{}:{}".format(*server.sockets[0].getsockname())
        return proxy, server

    async def stop(server: asyncio.Server) -> None:
        server.close()
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)

    proxy, server = asyncio.run_coroutine_threadsafe(start(), loop).result(10)
    try:
        yield proxy
    finally:
        asyncio.run_coroutine_threadsafe(stop(server), loop).result(10)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(10)
        loop.close()
