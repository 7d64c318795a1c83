"""ray.data: Parquet, files shuffled, a shuffle buffer on each rank; the ranks are actors, fed by a split."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from support.data_rows import ROWS, SHARD_BYTES, Row, decoded
from support.data_sides import Cell

BUFFER_BATCHES = 8
IN_ONE_PROCESS = True  # that of rank 0 starts Ray, and the actors


def store(row: Row, source: Path, folder: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    table = pa.ipc.open_file(source).read_all()
    step = -(-table.num_rows * SHARD_BYTES // table.nbytes)
    for number, start in enumerate(range(0, table.num_rows, step)):
        path = folder / f"{number:05d}.parquet"
        pq.write_table(table.slice(start, step), path, compression="none", use_dictionary=False)


def settings(cell: Cell) -> list[dict[str, Any]]:
    return [{}]


def pictures(batch: dict[str, Any]) -> dict[str, Any]:
    """Decodes; runs in Ray's tasks."""
    return {"data": np.stack([decoded(data) for data in batch["data"]])}


class Consumer:
    """An actor that does what a rank does: takes all batches of its part."""

    def epoch(self, part: Any, row: str) -> int:
        size = ROWS[row].batch
        wanted = {
            "batch_size": size,
            "prefetch_batches": 4,
            "local_shuffle_buffer_size": BUFFER_BATCHES * size,
        }
        if row == "opaque":
            return sum(len(found["data"]) for found in part.iter_batches(batch_format="numpy", **wanted))
        return sum(len(next(iter(found.values()))) for found in part.iter_torch_batches(**wanted))


class Loader:
    """All ranks'."""

    def __init__(self, cell: Cell) -> None:
        import ray

        self._row = ROWS[cell.row]
        if not ray.is_initialized():
            ray.init(num_cpus=2, include_dashboard=False, logging_level="error", log_to_driver=False)
            ray.data.DataContext.get_current().enable_progress_bars = False
        data = ray.data.read_parquet(**where(cell), shuffle="files")
        if self._row.name == "jpeg":
            data = data.map_batches(pictures, batch_size=self._row.batch)
        self._parts = data.streaming_split(cell.world, equal=False)
        kind = ray.remote(num_cpus=0)(Consumer)
        self._actors = [kind.remote() for _ in range(cell.world)]
        ray.get([actor.__ray_ready__.remote() for actor in self._actors])

    def renew(self, number: int) -> None:
        """The split goes from epoch to epoch by itself."""

    def epoch(self, number: int) -> Iterator[Any]:
        import ray

        calls = zip(self._actors, self._parts, strict=True)
        yield from (range(count) for count in ray.get([a.epoch.remote(p, self._row.name) for a, p in calls]))

    def close(self) -> None:
        import ray

        for actor in self._actors:
            ray.kill(actor)
        del self._parts


def where(cell: Cell) -> dict[str, Any]:
    """The arguments that name the files."""
    if not cell.remote:
        return {"paths": cell.path}
    from pyarrow.fs import S3FileSystem

    store = S3FileSystem(
        endpoint_override=os.environ["AWS_ENDPOINT_URL_S3"].removeprefix("http://"), scheme="http",
        access_key=os.environ["AWS_ACCESS_KEY_ID"], secret_key=os.environ["AWS_SECRET_ACCESS_KEY"],
        region="us-east-1",
    )  # fmt: skip
    return {"paths": cell.uri.removeprefix("s3://"), "filesystem": store}
