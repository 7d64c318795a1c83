"""litdata: chunks, `StreamingDataset` and `StreamingDataLoader`; tokens through its `TokensLoader`."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from support.data_rows import ROWS, SHARD_BYTES, WINDOW_TOKENS, Row, decoded, records
from support.data_sides import Cell, as_list, helpers


def store(row: Row, source: Path, folder: Path) -> None:
    import torch
    from litdata.streaming.cache import Cache
    from litdata.streaming.item_loader import TokensLoader

    items = TokensLoader(block_size=WINDOW_TOKENS) if row.name == "tokens" else None
    cache = Cache(str(folder), chunk_bytes=SHARD_BYTES, item_loader=items)
    for number, record in enumerate(records(source)):
        cache[number] = torch.from_numpy(record["tokens"]) if items else record["data"]
    cache.done()
    cache.merge()


settings = helpers
#: It gives bytes as a view of a file that nobody has read yet, and that its own workers cannot send.
TRANSFORMS = {"jpeg": decoded, "opaque": bytes}
#: Its S3 client cannot be used in a child of a process that has used it, and then gives way to a slower one.
FRESH_PROCESSES = True


class Loader:
    """One rank's."""

    def __init__(self, cell: Cell) -> None:
        from litdata import StreamingDataLoader, StreamingDataset
        from litdata.streaming import downloader
        from litdata.streaming.item_loader import TokensLoader
        from torch.utils.data import default_collate

        row = ROWS[cell.row]
        where: dict[str, Any] = {"input_dir": cell.uri if cell.remote else cell.path}
        if cell.remote:
            downloader._OBSTORE_CLIENT_OPTIONS["allow_http"] = True  # there is no argument for it
            keys = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")
            options = {name.lower(): os.environ[name] for name in keys}
            options |= {"endpoint_url": os.environ["AWS_ENDPOINT_URL_S3"], "region_name": "us-east-1"}
            where |= {"cache_dir": cell.cache, "storage_options": options}
        dataset = StreamingDataset(
            shuffle=True,
            drop_last=False,
            item_loader=TokensLoader(block_size=WINDOW_TOKENS) if row.name == "tokens" else None,
            transform=TRANSFORMS.get(row.name),
            **where,
        )
        count = cell.setting["helpers"]
        self._loader = StreamingDataLoader(
            dataset,
            batch_size=row.batch,
            num_workers=count,
            persistent_workers=count > 0,
            collate_fn=as_list if row.name == "opaque" else default_collate,
        )

    def renew(self, number: int) -> None:
        """The loader goes from epoch to epoch by itself."""

    def epoch(self, number: int) -> Iterator[Any]:
        yield from self._loader

    def close(self) -> None:
        del self._loader
