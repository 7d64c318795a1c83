"""Reads a held-out set in stored order: the same micro-batches in the same place, whoever evaluates."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass

from workers.data.decoder import EVALUATION, BatchDecoder, Decoding
from workers.data.permutation import Int64
from workers.data.prefetch import Prefetcher, Reader, Request
from workers.data.samples import StoredSamples
from workers.recipe import Batch


@dataclass(frozen=True, kw_only=True)
class _Request(Request):
    """One micro-batch."""

    draws: Int64


def evaluation_batches(
    reader: Reader,
    samples: StoredSamples,
    decoder: BatchDecoder,
    *,
    micro_batch: int,
    vranks: int,
    vrank: int,
    batches: int | None = None,
) -> Iterator[tuple[Batch, int]]:
    """The held-out micro-batches of one virtual rank: of those of the whole set, numbers k ≡ vrank (mod V).

    Args:
        reader: of the held-out set.
        samples: where its samples are stored.
        decoder: records to batches.
        micro_batch: samples in each; the set's last one may be shorter.
        vranks: virtual ranks that share the evaluation (V).
        vrank: which of them.
        batches: how many of them at most.

    Yields:
        batch, count: the batch and how many samples it holds, at least 1.
    """
    starts = range(vrank * micro_batch, samples.count, vranks * micro_batch)[:batches]
    requests = (_request(samples, start, start + micro_batch) for start in starts)
    begun: deque[tuple[Decoding, int]] = deque()
    try:
        for request, [records] in Prefetcher(reader).read(requests):
            if records is not None:
                begun.append((decoder.begin(EVALUATION, records, request.draws), records.num_rows))
            if len(begun) > decoder.ahead:
                decoding, count = begun.popleft()
                yield decoding.result(), count
        while begun:
            decoding, count = begun.popleft()
            yield decoding.result(), count
    finally:
        for decoding, _ in begun:
            decoding.cancel()


def _request(samples: StoredSamples, start: int, stop: int) -> _Request:
    found = samples.find(start, stop)
    return _Request(epoch=EVALUATION, runs=found.runs, draws=found.draws, counts=(len(found),))
