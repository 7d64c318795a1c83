"""One measurement of `data_resume.py`. Arguments: side, samples, position, a folder for synthetic indexes.

Prints `{"seconds": s, "bytes": n}`: until the first batch's addresses are known, and the growth of the peak.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Sized
from pathlib import Path

import numpy as np

ROWS_A_BLOCK = 1000
VRANKS, HOSTED, MICRO_BATCH = 64, 8, 32
ROWS_A_SHARD = 10_000


def ours(samples: int, position: float, window: int | None) -> Callable[[], Sized]:
    """What a worker does between its manifest and its first fetch."""
    from workers.data.order import OrderSettings
    from workers.data.schedule import Schedule

    rng = np.random.default_rng(0)
    rows = rng.integers(ROWS_A_BLOCK - 100, ROWS_A_BLOCK + 101, samples // ROWS_A_BLOCK)
    rows[-1] += samples - rows.sum()  # a last block of another size, so that there are as many as promised
    schedule = Schedule(rows=int(rows.sum()), vranks=VRANKS, micro_batch=MICRO_BATCH)
    step = int(position * schedule.steps_per_epoch)

    def resume() -> Sized:
        piece = schedule.at(step)
        order = OrderSettings(seed=0, window_blocks=window).epoch(piece.epoch, rows, VRANKS)
        return [
            order.addresses(vrank, piece.start, piece.start + piece.counts[vrank]) for vrank in range(HOSTED)
        ]

    return resume


def mosaic(samples: int, position: float, folder: Path) -> Callable[[], Sized]:
    """Its resumption, on an index of shards that need not be there."""
    from support.data_sides.mosaicml_streaming import make_importable

    make_importable()
    from streaming import StreamingDataset
    from streaming.base.util import clean_stale_shared_memory

    clean_stale_shared_memory()
    local = folder / f"mds-{samples}"
    if not local.exists():
        local.mkdir()
        write_index(local, samples)
    data = StreamingDataset(
        local=str(local), remote=str(folder / "remote"), shuffle=True, batch_size=MICRO_BATCH
    )
    data.load_state_dict(
        {
            "epoch": 0, "sample_in_epoch": int(position * samples), "num_canonical_nodes": 1,
            "shuffle_seed": 9176, "initial_physical_nodes": 1,
        }
    )  # fmt: skip

    def resume() -> Sized:
        # What `__iter__` does before its first sample.
        data._unique_worker_world = data._unique_rank_world.detect_workers()
        data._parallel_worker_world = data._parallel_rank_world.detect_workers()
        return data._get_work(*data._resume_incr_epoch())[:MICRO_BATCH]

    return resume


def write_index(folder: Path, samples: int) -> None:
    """An MDS index of shards of one number a sample."""
    shards = [
        {
            "column_encodings": ["int"], "column_names": ["n"], "column_sizes": [8], "compression": None,
            "format": "mds", "hashes": [], "samples": ROWS_A_SHARD, "size_limit": 1 << 26, "version": 2,
            "raw_data": {"basename": f"shard.{n:05d}.mds", "bytes": 12 * ROWS_A_SHARD, "hashes": {}},
            "zip_data": None,
        }
        for n in range(samples // ROWS_A_SHARD)
    ]  # fmt: skip
    (folder / "index.json").write_text(json.dumps({"shards": shards, "version": 2}))


def peak_bytes() -> int:
    """The most that was resident so far."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) * 1024


def main() -> None:
    side, samples, position, folder = sys.argv[1], int(sys.argv[2]), float(sys.argv[3]), Path(sys.argv[4])
    if side == "mosaicml-streaming":
        resume = mosaic(samples, position, folder)
    else:
        resume = ours(samples, position, 32 if side == "windowed" else None)
    Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
    before, begin = peak_bytes(), time.perf_counter()
    kept = resume()
    seconds = time.perf_counter() - begin
    print(json.dumps({"seconds": seconds, "bytes": peak_bytes() - before, "kept": len(kept)}), flush=True)
    os._exit(0)  # peers' threads and shared memory need not be waited for


if __name__ == "__main__":
    main()
