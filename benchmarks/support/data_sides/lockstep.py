"""Ours, through what training reads with."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from support.data_rows import ROWS, WINDOW_TOKENS, Row, decoded, records, schema
from support.data_sides import Cell

from workers.data.cache import node_cache
from workers.data.dataset import Dataset
from workers.data.decoder import Decoder
from workers.data.feed import Feed
from workers.data.memory import keep_freed_memory
from workers.data.order import OrderSettings, resolve_shuffle
from workers.data.reader import BlockReader
from workers.data.samples import EpochSamples
from workers.data.schedule import Schedule
from workers.data.shards import write_shards
from workers.recipe import Recipe

VRANKS = 2


class Tokens(Recipe):
    """Windows of tokens as one tensor."""

    def decode_batch(self, batch: pa.RecordBatch) -> torch.Tensor:
        return torch.from_numpy(batch.column(0).values.to_numpy().reshape(-1, WINDOW_TOKENS))


class Opaque(Recipe):
    """Bytes as they are."""

    def collate(self, samples: list[dict[str, bytes]]) -> list[bytes]:
        return [sample["data"] for sample in samples]


class Pictures(Recipe):
    """JPEGs as one tensor."""

    def decode(self, sample: dict[str, Any], rng: np.random.Generator) -> torch.Tensor:
        return torch.from_numpy(decoded(sample["data"]))


RECIPES = {"tokens": Tokens, "opaque": Opaque, "jpeg": Pictures}


def store(row: Row, source: Path, folder: Path) -> None:
    write_shards(records(source), schema(row), folder.as_uri())


def settings(cell: Cell) -> list[dict[str, Any]]:
    return [{"shuffle": "global"}, {"shuffle": "windowed"}]


class Loader:
    """The feed of one worker. Each epoch begins with nothing in this process's memory: a long job keeps up to
    1 GB of blocks there, which would leave nothing to read in the second epoch of so small a data set.
    """

    def __init__(self, cell: Cell) -> None:
        os.environ["LOCKSTEP_CACHE"] = cell.cache
        keep_freed_memory()  # as training does
        self._cell, self._row = cell, ROWS[cell.row]
        self._reader: BlockReader | None = None

    def renew(self, number: int) -> None:
        self.close()
        dataset = Dataset.open(self._cell.uri)
        self._reader = BlockReader(dataset, on_disk=node_cache(dataset.store.uri))

    def epoch(self, number: int) -> Iterator[Any]:
        assert self._reader is not None
        manifest = self._reader.dataset.manifest
        window = resolve_shuffle(manifest.bytes, self._cell.setting["shuffle"])
        schedule = Schedule(rows=manifest.rows, vranks=VRANKS, micro_batch=self._row.batch)
        vranks = range(VRANKS)[self._cell.rank :: self._cell.world]
        begin = number * schedule.steps_per_epoch
        steps = range(begin, begin + schedule.steps_per_epoch)
        decoder = Decoder(RECIPES[self._row.name](), seed=0)
        order = OrderSettings(seed=0, window_blocks=window)
        samples = EpochSamples(manifest.block_rows, order, VRANKS)
        feed = Feed(self._reader, samples, schedule, decoder, vranks, start_step=begin, stop_step=steps.stop)
        try:
            for step in steps:
                for vrank in vranks:
                    batch, count = feed.take(step, vrank)
                    if count:
                        yield batch
        finally:
            feed.close()
            decoder.close()

    def close(self) -> None:
        if self._reader is not None:
            self._reader.close()
