"""Reads a held-out set in stored order: the same micro-batches in the same place, whoever evaluates."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator

import numpy as np

from workers.data.decoder import EVALUATION, BatchDecoder, Decoding
from workers.data.order import locate
from workers.data.prefetch import Prefetcher, Request
from workers.data.reader import BlockReader
from workers.recipe import Batch


def evaluation_batches(
    reader: BlockReader,
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
        decoder: records to batches.
        micro_batch: samples in each; the set's last one may be shorter.
        vranks: virtual ranks that share the evaluation (V).
        vrank: which of them.
        batches: how many of them at most.

    Yields:
        batch, count: the batch and how many samples it holds, at least 1.
    """
    manifest = reader.dataset.manifest
    starts = range(vrank * micro_batch, manifest.rows, vranks * micro_batch)[:batches]
    requests = (_request(reader, start, min(start + micro_batch, manifest.rows)) for start in starts)
    begun: deque[tuple[Decoding, int]] = deque()
    try:
        for request, [records] in Prefetcher(reader).read(requests):
            if records is not None:
                sample_ids = manifest.first_row[request.blocks] + request.rows
                begun.append((decoder.begin(EVALUATION, records, sample_ids), records.num_rows))
            if len(begun) > decoder.ahead:
                decoding, count = begun.popleft()
                yield decoding.result(), count
        while begun:
            decoding, count = begun.popleft()
            yield decoding.result(), count
    finally:
        for decoding, _ in begun:
            decoding.cancel()


def _request(reader: BlockReader, start: int, stop: int) -> Request:
    blocks, rows = locate(reader.dataset.manifest.edges, np.arange(start, stop, dtype=np.int64))
    return Request(epoch=EVALUATION, blocks=blocks, rows=rows, counts=(stop - start,))
