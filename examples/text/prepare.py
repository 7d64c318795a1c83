"""Pack the text of `corpus.py` into two sharded data sets of windows.

    python examples/text/prepare.py DEST

DEST is a folder or an address such as s3://bucket/text. It gets `train/` and `eval/`: Arrow shards with a
manifest beside them. Each sample is one window of `CONTEXT + 1` bytes.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import get_args

import pyarrow as pa
from corpus import Part, text_of, windows

from workers.data.shards import write_shards

CONTEXT = 256
SCHEMA = pa.schema([pa.field("window", pa.binary(CONTEXT + 1), nullable=False)])
SHARD_BYTES = 1 << 20  # small, so that a small corpus is many objects too


def main(dest: str) -> None:
    """Write both parts below `dest`."""
    root = dest if "://" in dest else Path(dest).resolve().as_uri()
    for part in get_args(Part):
        rows = windows(text_of(part), CONTEXT)
        records = ({"window": row.tobytes()} for row in rows)
        write_shards(records, SCHEMA, f"{root}/{part}", shard_bytes=SHARD_BYTES, overwrite=True)
        print(f"{part}: {len(rows):,} windows, {rows.nbytes / 1e6:.1f} MB in {root}/{part}", file=sys.stderr)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    main(sys.argv[1])
