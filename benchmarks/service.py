"""The service under load: many jobs handed in by many clients at once, over REST, on a real database.

    python benchmarks/service.py [--jobs 5000] [--clients 16] [--loop] [--database postgresql://...]

A server process of its own (uvicorn, the real application, SQLite with every commit on disk) takes jobs
from clients that wait for each answer before they hand in the next. Printed are the rate, and how long
clients waited; how long somebody waited who looked at the list meanwhile; the server's memory afterwards.
Then the server is killed with SIGKILL, and the database is asked whether every job that was acknowledged is
there, once. The clients share the machine's cores with the server: their CPU time is printed as well.

With --loop the control loop plans in the same process, as it does in `lockstep serve`: on two nodes that are
soon full, so that thousands of jobs wait and each turn has reasons to write for them.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import psutil

ROOT = Path(__file__).parents[1]
PROCESSES = 4  # that the clients are spread over
LOOK_EVERY_SECONDS = 0.25
SPEC = {
    "recipe": "recipe:CharModel",
    "params": {"width": 256},
    "data": {"train": {"uri": "s3://bucket/train"}, "eval": {"uri": "s3://bucket/eval"}},
    "batch": {"size": 64, "virtual_ranks": 8, "max_grad_norm": 1.0},
    "stop": {"steps": 300},
    "workers": {"min": 1, "max": 4},
    "checkpoint": {"uri": "s3://bucket/runs", "every": 50},
}
TARGET_RATE, TARGET_P99_SECONDS, TARGET_MEMORY = 200, 0.150, 250e6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--jobs", type=int, default=5000)
    parser.add_argument("--clients", type=int, default=16)
    parser.add_argument("--loop", action="store_true", help="with the control loop in the same process")
    parser.add_argument("--database", help="an empty database; SQLite in a temporary folder if left out")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=os.environ.get("LOCKSTEP_BENCH_DIR")) as folder:
        database = options.database or f"sqlite:///{folder}/lockstep.db"
        turns = Path(folder) / "turns" if options.loop else None
        with Server(database, Path(folder), turns) as server:
            idle = server.memory()
            before, others = server.cpu_seconds(), clients_cpu_seconds()
            rate, waits, looks = load(server, options.jobs, options.clients)
            cpu = tuple(
                1e3 * seconds / options.jobs
                for seconds in (server.cpu_seconds() - before, clients_cpu_seconds() - others)
            )
            memory = server.memory()
            server.kill()
        lost = missing(database, options.jobs)
        report(options, rate, waits, looks, cpu, idle, memory, lost)
        if turns is not None:
            report_turns(turns)


class Server:
    """A server process; see benchmarks/support/service_host.py."""

    def __init__(self, database: str, folder: Path, turns: Path | None) -> None:
        command = [sys.executable, str(ROOT / "benchmarks/support/service_host.py"), database, str(folder)]
        command += [] if turns is None else [str(turns)]
        path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
        environment = {**os.environ, "PYTHONPATH": path}
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)
        told = json.loads(self._process.stdout.readline())
        self.url, self.token = told["url"], told["token"]

    def memory(self) -> int:
        """Resident bytes."""
        return psutil.Process(self._process.pid).memory_info().rss

    def cpu_seconds(self) -> float:
        """CPU time by now."""
        times = psutil.Process(self._process.pid).cpu_times()
        return times.user + times.system

    def kill(self) -> None:
        """At once, with no chance to write anything."""
        self._process.send_signal(signal.SIGKILL)
        self._process.wait()

    def __enter__(self) -> Server:
        return self

    def __exit__(self, *error: object) -> None:
        self.kill()


def clients_cpu_seconds() -> float:
    """CPU time of this process and of its children that have ended."""
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


def load(server: Server, jobs: int, clients: int) -> tuple[float, list[float], list[float]]:
    """Hand in all jobs; jobs a second, what each took, and what a look at the list took meanwhile."""
    context = multiprocessing.get_context("spawn")
    processes = min(PROCESSES, clients)
    start, results = context.Barrier(processes + 1), context.Queue()
    crews = [
        context.Process(
            target=hand_in,
            args=(
                server.url,
                server.token,
                range(i, jobs, processes),
                len(range(i, clients, processes)),
                start,
                results,
            ),
        )
        for i in range(processes)
    ]
    for crew in crews:
        crew.start()
    start.wait()
    began, over, looks = time.perf_counter(), threading.Event(), list[float]()
    looker = threading.Thread(target=look, args=(server, over, looks))
    looker.start()
    waits = [wait for _ in crews for wait in results.get()]
    took = time.perf_counter() - began
    over.set()
    looker.join()
    for crew in crews:
        crew.join()
    return jobs / took, sorted(waits), sorted(looks)


def hand_in(url: str, token: str, numbers: Sequence[int], clients: int, start, results) -> None:
    """A process with some of the clients, a thread each."""
    from orchestrator import Client

    waits: list[list[float]] = [[] for _ in range(clients)]

    def one(client: int) -> None:
        with Client(url, token) as ours:
            ready.wait()
            for number in numbers[client::clients]:
                began = time.perf_counter()
                ours.hand_in({"name": f"job-{number}", **SPEC})
                waits[client].append(time.perf_counter() - began)

    ready = threading.Barrier(clients + 1)
    threads = [threading.Thread(target=one, args=(client,)) for client in range(clients)]
    for thread in threads:
        thread.start()
    start.wait()
    ready.wait()
    for thread in threads:
        thread.join()
    results.put([wait for each in waits for wait in each])


def look(server: Server, over: threading.Event, looks: list[float]) -> None:
    """Somebody looks at the list while jobs come in."""
    from orchestrator import Client

    with Client(server.url, server.token) as ours:
        while not over.wait(LOOK_EVERY_SECONDS):
            began = time.perf_counter()
            list(ours.jobs(limit=20))
            looks.append(time.perf_counter() - began)


def missing(database: str, jobs: int) -> list[str]:
    """Jobs that were acknowledged and are not there once, after the kill."""
    from orchestrator.store.database import Database

    with Database(database) as found, found.reading() as tx:
        names = Counter(record.submission.name for record in tx.jobs.live())
    return [name for name in (f"job-{i}" for i in range(jobs)) if names[name] != 1]


def report(options, rate, waits, looks, cpu, idle, memory, lost) -> None:
    kind = "SQLite" if options.database is None else options.database.partition(":")[0]
    p99 = waits[min(len(waits) - 1, int(0.99 * len(waits)))]
    where = f"{kind}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}"
    loop = ", loop in the process" if options.loop else ""
    print(f"{options.jobs} jobs by {options.clients} clients into {where}{loop}")
    print(f"  rate      {rate:7.0f} jobs/s   (target: at least {TARGET_RATE})")
    print(f"  waited    {statistics.median(waits) * 1e3:7.1f} ms p50")
    print(f"            {p99 * 1e3:7.1f} ms p99   (target: below {TARGET_P99_SECONDS * 1e3:.0f})")
    print(f"            {waits[-1] * 1e3:7.1f} ms worst")
    print(f"  CPU       {cpu[0]:7.2f} ms of the server's for each job, {cpu[1]:.2f} ms of the clients'")
    if looks:
        print(f"  looking   {statistics.median(looks) * 1e3:7.1f} ms p50, {looks[-1] * 1e3:.1f} ms worst")
    most = TARGET_MEMORY / 1e6
    print(f"  memory    {memory / 1e6:7.0f} MB, {idle / 1e6:.0f} before   (target: at most {most:.0f})")
    print(f"  after SIGKILL {len(lost)} jobs are missing or double")
    good = rate >= TARGET_RATE and p99 < TARGET_P99_SECONDS and memory <= TARGET_MEMORY and not lost
    print("  all targets met" if good else "  NOT all targets met")


def report_turns(turns: Path) -> None:
    """What the control loop took meanwhile."""
    took, cpu = zip(*(map(float, line.split()) for line in turns.read_text().splitlines()), strict=True)
    print(f"  loop      {len(took):7d} turns, {sum(cpu):.1f} s of CPU")
    for what, times in (("all", took), ("CPU", cpu)):
        middle, worst = statistics.median(times) * 1e3, max(times) * 1e3
        print(f"            {middle:7.1f} ms p50, {worst:.1f} ms worst ({what})")


if __name__ == "__main__":
    main()
