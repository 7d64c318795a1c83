"""Reads ahead of whoever consumes samples: as far as that takes, and within a budget of memory."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TypeVar

from workers.data.permutation import Int64
from workers.data.reader import BlockReader, Gathering, Records

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
    blocks: Int64
    rows: Int64
    counts: tuple[int, ...]


R = TypeVar("R", bound=Request)


class Prefetcher:
    """Begins requests before they are wanted.

    How many depends on how long a fetch takes beside how long the consumer takes, which nobody knows
    beforehand. So whenever a request is wanted and not there, twice as many are begun ahead from then on.

    Args:
        reader: of the data set.
        budget_bytes: see `BUDGET_BYTES`.

    Attributes:
        depth: requests that are begun ahead at the moment.
    """

    def __init__(self, reader: BlockReader, budget_bytes: int = BUDGET_BYTES) -> None:
        self._reader, self._budget = reader, budget_bytes
        self.depth = _DEPTH_MIN

    def read(self, requests: Iterable[R]) -> Iterator[tuple[R, list[Records | None]]]:
        """Each request with the samples of each of its micro-batches, in order; None for one without any."""
        ahead: deque[tuple[R, Gathering | None]] = deque()
        missing = 0  # bytes of those
        for request in requests:
            begun = self._reader.begin(request.blocks, request.rows) if len(request.blocks) else None
            ahead.append((request, begun))
            missing += begun.missing_bytes if begun is not None else 0
            while len(ahead) > 1 and (len(ahead) > self.depth or missing > self._budget):
                request, first = ahead.popleft()
                missing -= first.missing_bytes if first is not None else 0
                yield self._arrived(request, first)
        for request, first in ahead:
            yield self._arrived(request, first)

    def _arrived(self, request: R, begun: Gathering | None) -> tuple[R, list[Records | None]]:
        if begun is None:
            return request, [None] * len(request.counts)
        if not begun.is_there:
            self.depth = min(2 * self.depth, _DEPTH_MAX)
        parts = iter(begun.parts([count for count in request.counts if count]))
        return request, [next(parts) if count else None for count in request.counts]
