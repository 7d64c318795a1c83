"""mosaicml-streaming: MDS shards, `StreamingDataset`, `StreamingDataLoader`, the default shuffle (py1e)."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import Any

from support.data_rows import ROWS, SHARD_BYTES, WINDOW_TOKENS, Row, decoded, records
from support.data_sides import Cell, as_list, helpers


def store(row: Row, source: Path, folder: Path) -> None:
    make_importable()
    from streaming import MDSWriter

    columns = {"tokens": f"ndarray:uint16:{WINDOW_TOKENS}"} if row.name == "tokens" else {"data": "bytes"}
    with MDSWriter(out=str(folder), columns=columns, size_limit=SHARD_BYTES) as writer:
        for record in records(source):
            writer.write(record)


settings = helpers


class Loader:
    """One rank's. It reads far ahead: with the default, eight batches, it waits for shards."""

    def __init__(self, cell: Cell) -> None:
        make_importable()
        from streaming import StreamingDataLoader, StreamingDataset
        from streaming.base.util import clean_stale_shared_memory
        from torch.utils.data import default_collate

        os.environ["S3_ENDPOINT_URL"] = os.environ.get("AWS_ENDPOINT_URL_S3", "")
        if not cell.world > 1:
            clean_stale_shared_memory()
        row = ROWS[cell.row]

        class Samples(StreamingDataset):
            def __getitem__(self, at: int) -> Any:
                sample = super().__getitem__(at)
                if row.name == "tokens":
                    return sample["tokens"]
                return decoded(sample["data"]) if row.name == "jpeg" else sample["data"]

        where = {"remote": cell.uri, "local": cell.cache} if cell.remote else {"local": cell.path}
        predownload = max(8 * row.batch, row.count // 2)
        self._dataset = Samples(shuffle=True, batch_size=row.batch, predownload=predownload, **where)
        count = cell.setting["helpers"]
        self._loader = StreamingDataLoader(
            self._dataset,
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
        del self._loader, self._dataset


def make_importable() -> None:
    """Without a torchvision that loads, put names in its place that its data sets of pictures only mention.

    Nothing here uses those. A torchvision that was built for CUDA does not load beside a torch without it.
    """
    try:
        import torchvision  # noqa: F401
    except (ImportError, RuntimeError):
        for name in [name for name in sys.modules if name.partition(".")[0] == "torchvision"]:
            del sys.modules[name]
        wanted = {"datasets": "VisionDataset", "transforms": None, "transforms.functional": "to_tensor"}
        for name, attribute in {"": None, **wanted}.items():
            full = f"torchvision.{name}".strip(".")
            sys.modules[full] = module = ModuleType(full)
            module.__spec__ = ModuleSpec(full, None)
            if attribute:
                setattr(module, attribute, object)
