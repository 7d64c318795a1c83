"""Reads ahead of whoever consumes samples: as far as that takes, and within a budget of memory."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Protocol, TypeVar

from workers.data.gathering import Gathering
from workers.data.records import Records
from workers.data.runs import Runs
from workers.errors import LockstepError

#: Bytes that may be on their way at once, beside the one request that is waited for.
BUDGET_BYTES = 256 << 20
_DEPTH_MIN, _DEPTH_MAX = 2, 1024


@dataclass(frozen=True, kw_only=True)
class Request:
    """The samples of one or more micro-batches, by address, laid end to end; there may be none.

    They are read together: for few small samples, the calls cost more than what they do.

    Attributes:
        counts: samples in each micro-batch.
    """

    epoch: int
    runs: Runs
    counts: tuple[int, ...]


R = TypeVar("R", bound=Request)


class Reader(Protocol):
    """Fetches samples by address."""

    @property
    def sample_bytes(self) -> float:
        """Stored bytes of a sample, about."""

    def begin(self, runs: Runs) -> Gathering:
        """Start to fetch samples, at least one, without waiting for them."""


class Prefetcher:
    """Begins requests before they are wanted.

    How many depends on how long a fetch takes beside how long the consumer takes, which nobody knows
    beforehand. So whenever a request is wanted and not there, twice as many are begun ahead from then on.

    Args:
        reader: of the data set.
        budget_bytes: see `BUDGET_BYTES`.
        stopped: once it is done, nobody wants anything any more.

    Attributes:
        depth: requests that are begun ahead at the moment.
    """

    def __init__(
        self,
        reader: Reader,
        budget_bytes: int = BUDGET_BYTES,
        stopped: Future[None] | None = None,
    ) -> None:
        self._reader, self._budget, self._stopped = reader, budget_bytes, stopped
        self.depth = _DEPTH_MIN

    def read(self, requests: Iterable[R]) -> Iterator[tuple[R, Iterable[Records | None]]]:
        """Each request with the samples of each of its micro-batches, in order; None for one without any.

        Iterating over those raises what fetching them raised, at the first one that it concerns. Ends early
        when it is stopped.
        """
        ahead: deque[tuple[R, Gathering | None]] = deque()
        missing = 0  # bytes of those
        try:
            for request in requests:
                begun = self._reader.begin(request.runs) if len(request.runs) else None
                ahead.append((request, begun))
                missing += begun.missing_bytes if begun is not None else 0
                while len(ahead) > 1 and (len(ahead) > self.depth or missing > self._budget):
                    request, first = ahead.popleft()
                    missing -= first.missing_bytes if first is not None else 0
                    yield self._arrived(request, first)
            while ahead:
                yield self._arrived(*ahead.popleft())
        except _Stopped:
            return
        finally:
            if self._stopped is not None and self._stopped.done():
                for _, begun in ahead:
                    if begun is not None:
                        begun.cancel()

    def _arrived(self, request: R, begun: Gathering | None) -> tuple[R, Iterable[Records | None]]:
        if begun is None:
            return request, [None] * len(request.counts)
        if not begun.is_there:
            self.depth = min(2 * self.depth, _DEPTH_MAX)
            if not begun.wait(self._stopped):
                begun.cancel()
                raise _Stopped
        try:
            parts = iter(begun.parts([count for count in request.counts if count]))
        except LockstepError:
            return request, _one_by_one(request, begun)
        return request, [next(parts) if count else None for count in request.counts]


def _one_by_one(request: Request, begun: Gathering) -> Iterator[Records | None]:
    """Not together: what is wrong with one micro-batch is no matter of those before it."""
    start = 0
    for count in request.counts:
        yield begun.piece(start, count).parts([count])[0] if count else None
        start += count


class _Stopped(Exception):
    """There is nobody any more who wants the samples."""
