"""Who comes first, and that everybody does at some time: the bounds that docs/scheduler.md states."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.scheduler import Config, Policy, Snapshot, plan
from orchestrator.scheduler.actions import Start
from orchestrator.scheduler.snapshot import Queue
from tests.support.tiny_cluster import TinyCluster, job, node, on, running

Q = Queue(id="q")


def first(*jobs, **config):
    """Who starts, if there is room for one."""
    queues = tuple(Queue(id=name) for name in sorted({job.queue for job in jobs}))
    snapshot = Snapshot(now=1e6, jobs=jobs, nodes=(node("n"),), queues=queues)
    (start,) = [a for a in plan(snapshot, Config(**config)).actions if isinstance(a, Start)]
    return start.job


def test_priority_comes_before_age():
    assert first(job("old", 8), job("high", 8, priority=1, submitted_at=3000.0)) == "high"


def test_and_age_before_priority_after_the_time_that_a_point_is_worth():
    assert first(job("old", 8), job("high", 8, priority=1, submitted_at=3700.0)) == "old"
    assert first(job("old", 8), job("high", 8, priority=2, submitted_at=3700.0)) == "high"


def test_who_has_had_little_comes_first():
    much = job("much", 8, attained_service=4000.0)
    little = job("little", 8, attained_service=3000.0, submitted_at=9e5)
    assert first(much, little, policy=Policy.SERVICE, promote_after=1e9) == "little"


def test_unless_the_other_has_waited_too_long():
    much = job("much", 8, attained_service=4000.0)
    little = job("little", 8, attained_service=3000.0, submitted_at=9.9e5, last_change_at=9.9e5)
    assert first(much, little, policy=Policy.SERVICE, promote_after=5e5) == "much"


def test_the_queue_that_uses_least_for_its_weight_comes_first():
    queues = (Queue(id="a", weight=1), Queue(id="b", weight=3))
    at_work = [running(job("ra", 4, queue="a")), running(job("rb", 8, queue="b"))]
    waiting = [job("wa", 4, queue="a"), job("wb", 4, queue="b", submitted_at=9.0)]
    allocations = (*on(at_work[0], n=4), *on(at_work[1], m=8))
    nodes = (node("n"), node("m"))
    snapshot = Snapshot(
        now=100.0, jobs=(*at_work, *waiting), nodes=nodes, queues=queues, allocations=allocations
    )
    found = plan(snapshot, Config(policy=Policy.FAIR))
    assert [a.job for a in found.actions if isinstance(a, Start)] == ["wb"]


def test_the_earlier_deadline_comes_first_and_patience_is_one_too():
    late = job("late", 8, deadline=1e6 + 5e4, estimate=10.0)
    soon = job("soon", 8, deadline=1e6 + 4e4, estimate=10.0, submitted_at=9.0)
    none = job("none", 8, submitted_at=1e6 + 3e4 - 86400.0)
    assert first(late, soon, policy=Policy.DEADLINE) == "soon"
    assert first(late, soon, none, policy=Policy.DEADLINE) == "none"


@pytest.mark.parametrize("policy", list(Policy))
@settings(max_examples=5, deadline=None)
@given(data=st.data())
def test_nobody_waits_for_ever_though_others_never_stop_arriving(policy, data):
    """A gang that needs the whole cluster, of the least priority, while small jobs of high priority flood it.

    Bounds, in seconds from its submission: PRIORITY: the time that the others' priority is worth, and the
    run time of what is ahead then. FAIR, SERVICE, ELASTIC: promote_after and the same, or protection.
    DEADLINE: patience, and the same.
    """
    config = Config(policy=policy, ageing=50.0, promote_after=400.0, patience=400.0, service_levels=(30.0,))
    cluster = TinyCluster([node("a", 4), node("b", 4)], config, (Q, Queue(id="p")), delay=1.0)
    estimated = data.draw(st.booleans())
    run_time, priority = 40.0, data.draw(st.integers(0, 5))
    whole = data.draw(st.sampled_from((8, 7, 5)))
    number = 0

    def flood():
        nonlocal number
        for _ in range(3):
            workers = data.draw(st.sampled_from((1, 1, 2, 4)))
            fields = {"priority": priority, "restart_cost": data.draw(st.sampled_from((0.0, 2.0)))}
            fields |= {"estimate": run_time if estimated else None, "queue": data.draw(st.sampled_from("qp"))}
            cluster.submit(job(f"small{number}", workers, **fields), run_time)
            number += 1

    flood()
    cluster.cycle()
    patient = job("patient", whole, priority=0, estimate=run_time if estimated else None)
    cluster.submit(patient, run_time)
    submitted = cluster.now
    # What is ahead of it when its turn comes: what was submitted meanwhile, at 3 jobs of at most 4 workers
    # every 10 seconds, one after the other on the whole cluster.
    turn = 50.0 * priority if policy is Policy.PRIORITY else 400.0
    ahead = (turn / 10.0 + 1) * 3 * run_time + 3 * run_time
    while not cluster.lives["patient"].starts:
        cluster.cycle()
        for _ in range(2):
            cluster.advance(5.0)
            cluster.cycle()
        flood()
        assert cluster.now <= submitted + turn + ahead + 100.0
