"""Samples on their way from blocks to a decoder."""

from __future__ import annotations

from typing import TypeAlias

import pyarrow as pa

#: Samples, one a row: in one piece in memory of their own, or in pieces that are still parts of blocks.
Records: TypeAlias = pa.RecordBatch | pa.Table


def joined(records: Records) -> pa.RecordBatch:
    """Samples in one piece, in fresh and aligned memory."""
    if isinstance(records, pa.RecordBatch):
        return records
    pieces = records.to_batches()
    # A single one would not be copied by putting it together with none.
    return pa.concat_batches(pieces) if len(pieces) > 1 else pieces[0].take(pa.array([0]))
