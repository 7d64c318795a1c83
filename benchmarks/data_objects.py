"""A prefix of very many small objects: the time to index it, the size of the index, the speed of reading it.

    python benchmarks/data_objects.py [--objects 200000] [--store s3] [--read 10000]

Objects of 2 to 6 KB, in folders of 1,000, are put there first (not timed). Then, one after the other:
`index`; opening the data set, as each worker does; and reading samples in an epoch's shuffled order through
what training reads with, beside the fewest calls that can get the same objects: the client alone, as many
requests at once, in stored order, nothing checked and nothing decoded.
"""

from __future__ import annotations

import argparse
import os
import resource
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from workers.data.dataset import Dataset
from workers.data.decoder import Decoder
from workers.data.feed import Feed
from workers.data.index import index
from workers.data.order import OrderSettings
from workers.data.parallel import at_once
from workers.data.reader import BlockReader
from workers.data.samples import EpochSamples
from workers.data.schedule import Schedule
from workers.recipe import Recipe
from workers.storage import Store

ROOT = Path(__file__).parents[1]
VRANKS, MICRO_BATCH, AT_ONCE = 4, 32, 32


class Bytes(Recipe):
    """Samples as they are."""

    def collate(self, samples: list[dict[str, Any]]) -> list[bytes]:
        return [sample["data"] for sample in samples]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--objects", type=int, default=200_000)
    parser.add_argument("--store", choices=("local", "s3"), default="local")
    parser.add_argument("--read", type=int, default=10_000, help="samples")
    options = parser.parse_args()
    os.environ["LOCKSTEP_CACHE"] = "off"
    with tempfile.TemporaryDirectory() as folder, place(options.store, Path(folder)) as uri:
        fill(Store(uri), options.objects)
        report(uri, options.objects, options.read)


@contextmanager
def place(store: str, folder: Path) -> Iterator[str]:
    """An empty prefix."""
    if store == "local":
        yield (folder / "objects").as_uri()
        return
    sys.path.append(str(ROOT))
    from tests.support.s3 import s3_server

    with s3_server(folder) as server:
        os.environ |= server.environment()
        yield f"s3://{server.make_bucket('objects')}/prefix"


def name(number: int) -> str:
    return f"{number // 1000:04d}/{number:07d}.bin"


def fill(store: Store, count: int) -> None:
    """Put the objects there."""
    noise = np.random.default_rng(0).bytes(1 << 20)

    def put(number: int) -> None:
        start = number * 4099 % (len(noise) - 6000)
        data = noise[start : start + 2000 + number * 7 % 4000]
        if store.uri.startswith("file:"):  # without an fsync for each: nothing here needs to survive
            path = Path(store.uri.removeprefix("file://")) / name(number)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
        else:
            store.put(name(number), data)

    for _ in at_once(put, range(count)):
        pass


def report(uri: str, count: int, read: int) -> None:
    """Measure and print."""
    begin, memory = time.perf_counter(), peak()
    manifest = index(uri)
    seconds, size = time.perf_counter() - begin, len(manifest.to_bytes())
    assert manifest.rows == count
    print(f"{count:,} objects, {manifest.bytes / 1e6:.0f} MB, {uri.partition(':')[0]}")
    grown = peak() - memory
    print(f"  index        {seconds:8.2f} s   {count / seconds:10,.0f} objects/s, {grown:.0f} MB more memory")
    print(f"  manifest     {size / 1e6:8.2f} MB  {size / count:10.1f} bytes an object")
    begin = time.perf_counter()
    dataset = Dataset.open(uri)
    print(f"  open         {time.perf_counter() - begin:8.2f} s")
    floor, ours = alone(dataset, read), through_feed(dataset, read)
    print(f"  client alone {floor:8,.0f} objects/s, in stored order")
    print(f"  training     {ours:8,.0f} samples/s, shuffled; {ours / floor:.2f} of that")


def alone(dataset: Dataset, count: int) -> float:
    """Objects per second."""
    store = dataset.store
    blocks = [dataset.manifest.block(number) for number in range(count)]
    begin = time.perf_counter()
    for _ in at_once(lambda block: store.get_range(block.object, 0, block.length), blocks, AT_ONCE):
        pass
    return count / (time.perf_counter() - begin)


def through_feed(dataset: Dataset, count: int) -> float:
    """Samples per second, from a global shuffle of all of them."""
    schedule = Schedule(rows=dataset.rows, vranks=VRANKS, micro_batch=MICRO_BATCH)
    samples = EpochSamples(dataset.manifest.block_rows, OrderSettings(seed=0), VRANKS)
    steps = count // (VRANKS * MICRO_BATCH)
    begin = time.perf_counter()
    reader, decoder = BlockReader(dataset), Decoder(Bytes(), seed=0)
    feed = Feed(reader, samples, schedule, decoder, range(VRANKS), start_step=0, stop_step=steps)
    taken = sum(feed.take(step, vrank)[1] for step in range(steps) for vrank in range(VRANKS))
    seconds = time.perf_counter() - begin
    feed.close()
    reader.close()
    return taken / seconds


def peak() -> float:
    """Of this process's memory, MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    main()
