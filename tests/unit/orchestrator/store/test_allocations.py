"""Which workers are where, job by job."""

from __future__ import annotations

from orchestrator.store.records import AllocationRecord
from tests.support.store_jobs import submitted


def test_an_allocation_replaces_the_one_before(database):
    a, b = submitted(database, "a").id, submitted(database, "b").id
    with database.transaction() as tx:
        tx.allocations.put(a, {"n2": 1, "n1": 3})
        tx.allocations.put(b, {"n1": 1})
        tx.allocations.put(a, {"n1": 2, "n3": 0, "n4": 2}, {"n4": 1})
    expected = (
        AllocationRecord(job=a, node="n1", workers=2),
        AllocationRecord(job=a, node="n4", workers=2, leaving=1),
    )
    with database.reading() as tx:
        assert tx.allocations.of(a) == expected
        assert set(tx.allocations.all()) == {*expected, AllocationRecord(job=b, node="n1", workers=1)}


def test_what_is_dropped_is_gone_and_can_be_dropped_again(database):
    job = submitted(database).id
    with database.transaction() as tx:
        tx.allocations.put(job, {"n1": 1})
        tx.allocations.drop(job)
        tx.allocations.drop(job)
        tx.allocations.put(job, {})
    with database.reading() as tx:
        assert tx.allocations.of(job) == tx.allocations.all() == ()
