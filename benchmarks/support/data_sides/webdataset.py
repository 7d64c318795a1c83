"""webdataset: tar files, shuffled as wholes and through a buffer, batched in the workers; from S3 by curl."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from support.data_rows import ROWS, SHARD_BYTES, Row, decoded, records
from support.data_sides import Cell, helpers

BUFFER_SAMPLES = 1000


def store(row: Row, source: Path, folder: Path) -> None:
    import webdataset as wds

    with wds.ShardWriter(f"{folder}/%05d.tar", maxsize=SHARD_BYTES, maxcount=1 << 30, verbose=0) as writer:
        for number, record in enumerate(records(source)):
            data = record["tokens"].tobytes() if row.name == "tokens" else record["data"]
            writer.write({"__key__": f"{number:08d}", "bin": data})


def settings(cell: Cell) -> list[dict[str, Any]]:
    """From S3 with its cache of whole shards, or without."""
    caches = (False, True) if cell.remote else (False,)
    return [found | {"cache": cache} for found in helpers(cell) for cache in caches]


class Loader:
    """One rank's."""

    def __init__(self, cell: Cell) -> None:
        import numpy as np
        import torch
        import webdataset as wds

        row = ROWS[cell.row]
        urls = [address(cell, name) for name in cell.objects]
        cache = {"cache_dir": cell.cache} if cell.setting["cache"] else {}
        data = wds.WebDataset(
            urls, shardshuffle=len(urls), nodesplitter=wds.split_by_node, empty_check=False, **cache
        )
        data = data.shuffle(BUFFER_SAMPLES).to_tuple("bin")
        if row.name == "tokens":
            data = data.map_tuple(lambda octets: np.frombuffer(octets, dtype=np.uint16))
        elif row.name == "jpeg":
            data = data.map_tuple(decoded)

        def collate(samples: list[tuple[Any]]) -> Any:
            column = [sample for (sample,) in samples]
            return column if row.name == "opaque" else torch.from_numpy(np.stack(column))

        data = data.batched(row.batch, collation_fn=collate, partial=True)
        count = cell.setting["helpers"]
        self._loader = wds.WebLoader(
            data, batch_size=None, num_workers=count, persistent_workers=count > 0, shuffle=False
        )

    def renew(self, number: int) -> None:
        """The loader goes from epoch to epoch by itself."""

    def epoch(self, number: int) -> Iterator[Any]:
        yield from self._loader

    def close(self) -> None:
        del self._loader


def address(cell: Cell, name: str) -> str:
    """A local path, or a command that prints the object: signed here, as long as the benchmark lasts."""
    if not cell.remote:
        return f"{cell.path}/{name}"
    import boto3

    bucket, _, prefix = cell.uri.removeprefix("s3://").partition("/")
    wanted = {"Bucket": bucket, "Key": f"{prefix}/{name}"}
    url = boto3.client("s3").generate_presigned_url("get_object", Params=wanted, ExpiresIn=7200)
    return f"pipe:curl -s -f '{url}'"
