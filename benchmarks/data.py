"""Samples per second and per CPU-second, beside mosaicml-streaming, litdata, webdataset and ray.data.

    python benchmarks/data.py [--rounds 5] [--only jpeg] [--store s3] [--workers 2]

Rows: 1 KiB windows of tokens, 100 KB of opaque bytes, and JPEGs that everybody decodes to 224x224 with the
same function; each from the local disk and from Ceph's S3 gateway on loopback, for one and two workers. All
sides hold the same records, each in its own format; all shuffle, each in its own way, and deliver batches of
the same size to processes that stand for the ranks of a training.

A visit opens the data set (not timed) and reads two epochs. Before the first one, the pages of its files are
dropped from the page cache, and what the side keeps of a bucket on the local disk is removed: cold. The
second one is warm. Both are timed as wholes, from asking for the first batch to having the last: what
starting to read costs is in it. Ours reads the warm epoch with an empty memory, from the page cache or its
cache on the disk; peers go on with the loader, and the worker processes, that they have. A third epoch of
ours, printed below the others as `in memory`, goes on with what it has, too, as a long job does: there, so
small a set stays. Opaque bytes are delivered as `bytes`, which have been read, by all sides.

Each side first tries its settings on the cell: DataLoader's worker processes; a cache, for webdataset; for
ours, the order of a small data set, as this is, and that of one above 8 GB. It keeps the fastest for the cold
and for the warm epoch. Then the sides take turns, forth and back; a peer that took more than three times as
long as the fastest one in both of its trials only twice. Medians are printed, and the median of the rounds'
ratios to the peer with the best median. CPU-seconds are of all processes of a side, those that it starts
included; not of the gateway, which shares the machine's cores with everybody.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import sys
import tempfile
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from support.data_crew import Cost, Crew, SideFailed
from support.data_rows import ROWS, Row, make
from support.data_sides import SIDES, Cell, side

from workers.storage import Store

ROOT = Path(__file__).parents[1]
OURS, *PEERS = SIDES
CACHES = ("cold", "warm")
MEMORY = "in memory"
S3_COLD_TARGET = 1.3
LAGS, LAGGARDS_ROUNDS = 3.0, 2


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where the data sets of all sides are: those of a side in a row at `{uri}/{row}/{side}`.

    Attributes:
        environment: of the processes that read there.
    """

    name: str
    uri: str
    environment: dict[str, str]


@dataclass
class Found:
    """What was measured of one side in one cell: by cache, the setting that it chose, its rate when that was
    tried, and its costs.
    """

    chosen: dict[str, dict[str, Any]] = field(default_factory=dict)
    tried: dict[str, float] = field(default_factory=lambda: dict.fromkeys((*CACHES, MEMORY), 0.0))
    costs: dict[str, list[Cost]] = field(default_factory=lambda: defaultdict(list))
    failure: str | None = None

    def rate(self, cache: str) -> float:
        """Median samples per second; 0 if there are none."""
        return statistics.median(cost.rate for cost in self.costs[cache]) if self.costs[cache] else 0.0


class Crews:
    """The crews of one number of workers; one that failed is started anew when it is asked for again."""

    remote = False  # what is being measured lies in a bucket

    def __init__(self, world: int, folder: Path, environment: dict[str, str]) -> None:
        self.world, self._folder, self._environment = world, folder, environment
        self._running: dict[str, tuple[Crew, ExitStack]] = {}

    def __enter__(self) -> Crews:
        return self

    def __exit__(self, *_: object) -> None:
        for name in list(self._running):
            self.stop(name)

    def of(self, name: str) -> Crew:
        """The crew of a side."""
        if name not in self._running:
            stack = ExitStack()
            log = self._folder / f"{name}.log"
            self._running[name] = stack.enter_context(Crew(name, self.world, self._environment, log)), stack
        return self._running[name][0]

    def stop(self, name: str) -> None:
        """End a crew."""
        if name in self._running:
            self._running.pop(name)[1].close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", choices=ROWS, action="append", help="rows; may be given again")
    parser.add_argument("--store", choices=("local", "s3"))
    parser.add_argument("--workers", type=int, choices=(1, 2))
    options = parser.parse_args()
    rows = [ROWS[name] for name in options.only or ROWS]
    summary: list[str] = []
    with tempfile.TemporaryDirectory() as name, places(Path(name), options.store) as found:
        folder = Path(name)
        absent = store(rows, found, folder)
        for world in (options.workers,) if options.workers else (1, 2):
            with Crews(world, folder, found[-1].environment) as crews:
                for row in rows:
                    for place in found:
                        if not options.store or place.name.startswith(options.store):
                            summary += measure(row, place, crews, options.rounds, folder / "cache", absent)
    print("\nours / best peer, samples/s and samples/CPU-s", *summary, sep="\n")


@contextmanager
def places(folder: Path, wanted: str | None) -> Iterator[list[Place]]:
    """The local disk, and a bucket if one can be had."""
    sys.path.append(str(ROOT))
    from tests.support.s3 import HOW_TO_INSTALL, missing_programs, s3_server

    local = Place(name="local disk", uri=(folder / "data").as_uri(), environment={})
    if wanted == "local" or missing_programs():
        if wanted != "local":
            print(f"without S3: {', '.join(missing_programs())} are missing; {HOW_TO_INSTALL}")
        yield [local]
        return
    (folder / "s3").mkdir()
    with s3_server(folder / "s3") as server:
        bucket = Place(name="s3", uri=f"s3://{server.make_bucket('bench')}", environment=server.environment())
        os.environ |= bucket.environment
        yield [local, bucket]


def store(rows: list[Row], found: list[Place], folder: Path) -> dict[str, str]:
    """Write all data sets and copy them to the bucket; returns which sides cannot, and why."""
    absent: dict[str, str] = {}
    for row in rows:
        make(row, folder / f"{row.name}.arrow")
    for name in SIDES:
        with Crew(name, 1, {}, folder / f"{name}.log") as crew:
            try:
                for row in rows:
                    source, dest = folder / f"{row.name}.arrow", folder / "data" / row.name / name
                    crew.call("store", row=row.name, source=str(source), folder=str(dest))
            except SideFailed as failure:
                absent[name] = str(failure)
                print(f"{name} is left out: {failure}")
    os.sync()  # pages that are not written yet cannot be dropped
    origin = Store(found[0].uri)
    for place in found[1:]:
        bucket = Store(place.uri)
        for info in origin.list():
            bucket.put(info.name, origin.get(info.name))
    return absent


def measure(
    row: Row, place: Place, crews: Crews, rounds: int, cache: Path, absent: dict[str, str]
) -> list[str]:
    """Let the sides take turns on one row from one place; prints tables, returns lines that sum them up."""
    found = {name: Found(failure=absent.get(name)) for name in SIDES}
    crews.remote = place.uri.startswith("s3://")
    for name in SIDES:
        attempt(found[name], crews, name, partial(choose, found[name], row, place, crews, name, cache))
    best = {kind: max(found[name].tried[kind] for name in PEERS) for kind in CACHES}
    lags = [name for name in PEERS if all(LAGS * found[name].tried[kind] < best[kind] for kind in CACHES)]
    for number in range(rounds):
        for name in SIDES if number % 2 == 0 else SIDES[::-1]:
            if number < LAGGARDS_ROUNDS or name not in lags:
                attempt(found[name], crews, name, partial(again, found[name], row, place, crews, name, cache))
    return [report(row, place, crews.world, kind, found) for kind in CACHES]


def attempt(found: Found, crews: Crews, name: str, do: Callable[[], None]) -> None:
    """Do something, unless the side has failed in this cell; note a failure, and end its processes."""
    if crews.remote and getattr(side(name), "FRESH_PROCESSES", False):
        crews.stop(name)
    if found.failure is None:
        try:
            do()
        except SideFailed as failure:
            found.failure = str(failure)
            crews.stop(name)


def choose(found: Found, row: Row, place: Place, crews: Crews, name: str, cache: Path) -> None:
    """Try all settings of a side, once each; one that fails is not chosen, unless all do."""
    failure: SideFailed | None = None
    for setting in side(name).settings(cell(row, place, name, crews.world, cache, {})):
        try:
            costs = visit(row, place, crews.of(name), cache, setting)
        except SideFailed as error:
            failure = error
            crews.stop(name)
            continue
        for kind, cost in costs.items():
            if cost.rate > found.tried[kind]:
                found.tried[kind], found.chosen[kind] = cost.rate, setting
    if not found.chosen and failure is not None:
        raise failure


def again(found: Found, row: Row, place: Place, crews: Crews, name: str, cache: Path) -> None:
    """Measure a side once, with the settings that it chose."""
    chosen, crew = found.chosen, crews.of(name)
    if all(setting == chosen["cold"] for setting in chosen.values()):
        costs = visit(row, place, crew, cache, chosen["cold"])
    else:
        costs = {kind: visit(row, place, crew, cache, setting)[kind] for kind, setting in chosen.items()}
    for kind, cost in costs.items():
        found.costs[kind].append(cost)


def visit(row: Row, place: Place, crew: Crew, cache: Path, setting: dict[str, Any]) -> dict[str, Cost]:
    """Open a data set and read a cold and a warm epoch."""
    shutil.rmtree(cache, ignore_errors=True)
    cache.mkdir()
    wanted = cell(row, place, crew.name, crew.world, cache, setting)
    crew.open(wanted.__dict__)
    costs = {}
    for number, kind in enumerate(CACHES):
        crew.call("renew", number=number)
        if kind == "cold" and not wanted.remote:
            drop_pages(Path(wanted.path))
        costs[kind] = crew.epoch(number)
    if crew.name == OURS:
        costs[MEMORY] = crew.epoch(len(CACHES))
    crew.call("close")
    return costs


def cell(row: Row, place: Place, name: str, world: int, cache: Path, setting: dict[str, Any]) -> Cell:
    """What rank 0 is told to open."""
    uri = f"{place.uri}/{row.name}/{name}"
    objects = tuple(info.name for info in Store(uri).list())
    return Cell(
        row=row.name, uri=uri, cache=str(cache), rank=0, world=world, objects=objects, setting=setting
    )


def drop_pages(folder: Path) -> None:
    """Have the kernel forget what it has in memory of these files."""
    for path in folder.rglob("*"):
        if path.is_file():
            descriptor = os.open(path, os.O_RDONLY)
            try:
                os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
            finally:
                os.close(descriptor)


def report(row: Row, place: Place, world: int, kind: str, found: dict[str, Found]) -> str:
    """Print a table; returns the line that sums it up."""
    title = f"{row.name} ({row.what}), {place.name}, {kind}, {world} worker{'s' * (world > 1)}"
    load = os.getloadavg()[0]
    print(f"\n{title}; load {load:.1f}\n  {'':<20}{'samples/s':>11}{'per CPU-s':>11}")
    lines = [(name, one, kind) for name, one in found.items()]
    if kind == "warm":
        lines.append((OURS, found[OURS], MEMORY))
    for name, one, kept in lines:
        costs = one.costs[kept]
        if one.failure is not None or not costs:
            print(f"  {name:<20}cannot: {one.failure}")
            continue
        thrift = statistics.median(cost.thrift for cost in costs)
        chosen = ", ".join(f"{key} {value}" for key, value in one.chosen[kept].items())
        odd = {cost.samples for cost in costs} - {row.count}
        amiss = f" (delivers {sorted(odd)} of {row.count})" if odd else ""
        chosen += f", {MEMORY}" * (kept == MEMORY)
        print(f"  {name:<20}{one.rate(kept):11,.0f}{thrift:11,.0f}  {chosen}{amiss}", flush=True)
    best = max(PEERS, key=lambda name: found[name].rate(kind) * (found[name].failure is None))
    target = S3_COLD_TARGET if (place.name, kind) == ("s3", "cold") else row.target
    lines = []
    for kept in (kind, MEMORY) if kind == "warm" else (kind,):
        mine, theirs = found[OURS].costs[kept], found[best].costs[kind]
        if found[OURS].failure or found[best].failure or not mine or not theirs:
            return f"  {title}: nothing to compare"
        rates = [a.rate / b.rate for a, b in zip(mine, theirs, strict=True)]
        thrifts = [a.thrift / b.thrift for a, b in zip(mine, theirs, strict=True)]
        line = f"{spread(rates)} {spread(thrifts)}   target {target}, beside {best}"
        print(f"  ours{f' {MEMORY}' * (kept == MEMORY)} / best peer    {line}", flush=True)
        lines.append(f"  {row.name:<7} {place.name:<6} {kept:<9} {world}: {line}")
    return "\n".join(lines)


def spread(values: list[float]) -> str:
    """Median and range."""
    return f"{statistics.median(values):6.2f} ({min(values):.2f}..{max(values):.2f})"


if __name__ == "__main__":
    main()
