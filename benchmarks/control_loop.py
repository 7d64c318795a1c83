"""What a turn of a server's control loop costs with thousands of jobs that wait, on an SQLite file.

    python benchmarks/control_loop.py [--pending 2000]

Jobs run nowhere: the executor only listens. Numbers are milliseconds, over some turns of each kind.
"""

from __future__ import annotations

import argparse
import gc
import tempfile
import time
from pathlib import Path
from statistics import median

from support.quiet_cluster import GPUS, QuietCluster

from orchestrator.gang import Outcome
from orchestrator.service.controller import Controller
from orchestrator.service.executor import Order, Over, Seen
from orchestrator.store.database import Database
from orchestrator.store.records import Submission

NODES = 50
TURNS = 20


def submit(database: Database, first: int, count: int) -> None:
    """So many jobs of five users, one or two GPUs each."""
    with database.transaction() as tx:
        for number in range(first, first + count):
            submission = Submission(
                name=f"job-{number}",
                queue="default",
                user=f"user-{number % 5}",
                priority=number % 3,
                min_workers=1 + number % 2,
                max_workers=2 + number % 3,
                spec={"workers": {"cpus": 1.0, "gpus": 1}, "checkpoint": {"uri": "file:///runs"}},
            )
            tx.jobs.submit(submission, time.time())


def timed(controller: Controller) -> tuple[float, float]:
    """Milliseconds of a turn, and of the CPU in it; then whatever is left to do is done."""
    begin, cpu = time.perf_counter(), time.process_time()
    more = controller.turn()
    took = 1e3 * (time.perf_counter() - begin), 1e3 * (time.process_time() - cpu)
    while more:
        more = controller.turn()
    return took


def show(what: str, times: list[tuple[float, float]]) -> None:
    """One line."""
    loops, cpus = [t for t, _ in times], [p for _, p in times]
    print(f"{what:40} median {median(loops):6.1f}  worst {max(loops):6.1f}  CPU median {median(cpus):6.1f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pending", type=int, default=2000)
    arguments = parser.parse_args()
    gc.collect()
    gc.freeze()  # as a server does before it serves
    with tempfile.TemporaryDirectory() as folder:
        database = Database(f"sqlite:///{Path(folder)}/bench.db")
        listener = QuietCluster(NODES)
        controller = Controller(database, listener)
        submit(database, 0, arguments.pending + NODES * GPUS // 2)
        show("the first turn: all are new", [timed(controller)])
        running = list(listener.orders.values())
        listener.told = [_seen(order, 0) for order in running]
        show(f"{len(running)} begin to run", [timed(controller)])
        show("nothing has happened", [timed(controller) for _ in range(TURNS)])
        views = []
        for turn in range(1, TURNS + 1):
            time.sleep(0.1)
            listener.told = [_seen(order, turn) for order in running]
            views.append(timed(controller))
        show("all that run tell how they get on", views)
        news = []
        for turn in range(TURNS):
            submit(database, 1_000_000 + turn, 1)
            news.append(timed(controller))
        show("one is submitted", news)
        ends = []
        for order in list(listener.orders.values())[:TURNS]:
            listener.told = [Over(job=order.job, attempt=order.attempt, outcome=Outcome(done=True), view={})]
            ends.append(timed(controller))
        show("one ends, and another one starts", ends)


def _seen(order: Order, step: int) -> Seen:
    return Seen(
        job=order.job,
        attempt=order.attempt,
        running=True,
        view={"step": step, "workers": [{"id": f"worker-{n}", "state": "training"} for n in range(2)]},
        held=order.places,
        heeded=order.number,
    )


if __name__ == "__main__":
    main()
