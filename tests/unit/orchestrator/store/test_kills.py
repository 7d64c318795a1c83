"""kill -9 in the middle of transactions: what was acknowledged is there, and nothing is there by half."""

from __future__ import annotations

import random
import subprocess
import sys

import pytest

from orchestrator.records.facts import JobState
from orchestrator.store.database import Database

KILLS = 5
ACKNOWLEDGED_MAX = 150

SUBMITTER = """
import os, sys, threading
from orchestrator.records.facts import JobState
from orchestrator.store.database import Database
from tests.support.store_jobs import submission

database, life = Database(sys.argv[1]), sys.argv[2]

def submit(thread):
    i = 0
    while True:
        name = f"{life}-{thread}-{i}"
        with database.transaction() as tx:
            job, _ = tx.jobs.submit(submission(name, key=name), 1.0)
            tx.allocations.put(job.id, {"n1": 1, "n2": 2})
            tx.jobs.move(job, JobState.STARTING, now=2.0, cause="plan", reason="", who="scheduler", attempt=1)
            tx.memory.save("newest", name)
        os.write(1, f"{name}\\n".encode())
        i += 1

for thread in range(4):
    threading.Thread(target=submit, args=(thread,)).start()
"""


@pytest.mark.slow
def test_nothing_that_was_acknowledged_is_lost_and_nothing_is_half_done(tmp_path):
    url, chance = f"sqlite:///{tmp_path}/lockstep.db", random.Random(6)
    acknowledged: set[str] = set()
    for life in range(KILLS):
        process = subprocess.Popen(
            [sys.executable, "-c", SUBMITTER, url, str(life)], stdout=subprocess.PIPE, text=True
        )
        for _ in range(chance.randint(1, ACKNOWLEDGED_MAX)):
            acknowledged.add(process.stdout.readline().strip())
        process.kill()
        acknowledged |= {line.strip() for line in process.stdout if line.endswith("\n")}
        process.wait()
        check_whole(url, acknowledged)


def check_whole(url: str, acknowledged: set[str]) -> None:
    with Database(url) as database:
        with database._writer.block() as connection:
            assert connection.exec_driver_sql("PRAGMA integrity_check").scalars().all() == ["ok"]
        with database.reading() as tx:
            jobs = {job.submission.name: job for job in tx.jobs.live()}
            assert acknowledged <= jobs.keys()
            held = {(row.job, row.node, row.workers) for row in tx.allocations.all()}
            told = [(event.job, event.kind) for event in tx.events.after(0, limit=10**6)]
            assert tx.memory.load("newest") == list(jobs)[-1]
    ids = {job.id for job in jobs.values()}
    assert {job.state for job in jobs.values()} == {JobState.STARTING}
    assert held == {(id, *place) for id in ids for place in (("n1", 1), ("n2", 2))}
    assert sorted(told) == sorted((id, kind) for id in ids for kind in ("submitted", "state"))
