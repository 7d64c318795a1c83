"""How many submissions a second are durable, and what the control loop pays for thousands of pending jobs.

    python benchmarks/store.py [sqlite:////path/to/file.db | postgresql://...]

The database must be a new one. Each submission is acknowledged when it is on disk.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from orchestrator.store import writer
from orchestrator.store.database import Database
from orchestrator.store.mirror import LiveJobs
from orchestrator.store.records import Submission

CLIENTS, JOBS, ROUNDS = 16, 2000, 20
SPEC = {
    "recipe": "recipe:Net",
    "params": {"width": 32, "depth": 12, "comment": "x" * 100},
    "data": {"train": {"uri": "s3://bucket/train/some/where"}, "eval": {"uri": "s3://bucket/eval"}},
    "batch": {"size": 64, "virtual_ranks": 8, "max_grad_norm": 1.0},
    "stop": {"steps": 30000},
    "checkpoint": {"uri": "s3://bucket/runs", "every": 50, "keep": 3},
}


def submit(database: Database, name: str) -> float:
    began = time.perf_counter()
    job = Submission(
        name=name, key=name, queue="default", user="ann", priority=0, min_workers=1, max_workers=4, spec=SPEC
    )
    with database.transaction() as tx:
        tx.jobs.submit(job, time.time())
    return time.perf_counter() - began


def submissions(database: Database, blocks_a_commit: int) -> None:
    writer.GROUP_MAX = blocks_a_commit
    names = [f"j{blocks_a_commit}-{i}" for i in range(JOBS // 2)]
    began = time.perf_counter()
    with ThreadPoolExecutor(CLIENTS) as pool:
        waits = sorted(pool.map(lambda name: submit(database, name), names))
    rate = len(names) / (time.perf_counter() - began)
    p50, p99 = (1000 * waits[int(len(waits) * part)] for part in (0.5, 0.99))
    print(f"{blocks_a_commit:3} a commit: {rate:6.0f} submissions/s, p50 {p50:.1f} ms, p99 {p99:.1f} ms")


def timed(what: str, act: Callable[[], object]) -> None:
    times = []
    for _ in range(ROUNDS):
        began = time.perf_counter()
        act()
        times.append(1000 * (time.perf_counter() - began))
    print(f"{what}: median {statistics.median(times):.2f} ms, slowest {max(times):.2f} ms")


def loop(database: Database) -> None:
    mirror = LiveJobs()

    def refresh() -> None:
        with database.reading() as tx:
            mirror.refresh(tx)

    def live() -> None:
        with database.reading() as tx:
            tx.jobs.live()

    def change() -> None:
        with database.transaction() as tx:
            tx.jobs.explain({next(iter(mirror.jobs)): {"code": "quota"}})
        refresh()

    refresh()
    timed(f"all of {len(mirror.jobs)} pending jobs read", live)
    timed("... and when nothing has changed", refresh)
    timed("one of them changed, committed, and read", change)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("url", nargs="?")
    with tempfile.TemporaryDirectory() as folder:
        url = parser.parse_args().url or f"sqlite:///{folder}/lockstep.db"
        with Database(url) as opened:
            for blocks in (1, 64):
                submissions(opened, blocks)
            loop(opened)
