"""Backfill: who fits starts, unless somebody ahead would wait longer for it."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.scheduler import Config, Policy, Snapshot, plan
from orchestrator.scheduler.actions import Start
from orchestrator.scheduler.snapshot import NodeState, Place, Queue, Reservation, Within
from tests.support.examples import examples
from tests.support.tiny_cluster import TinyCluster, job, node, on, running

Q = Queue(id="q")
BACKFILLING = (Policy.PRIORITY, Policy.FAIR, Policy.DEADLINE)

ONE = (node("n"),)


def moment(*jobs, nodes=ONE, allocations=(), now=100.0, **fields):
    return Snapshot(now=now, jobs=jobs, nodes=nodes, queues=(Q,), allocations=allocations, **fields)


def started(found):
    return [action.job for action in found.actions if isinstance(action, Start)]


@pytest.mark.parametrize("policy", BACKFILLING)
def test_a_short_job_starts_before_a_large_one_that_has_to_wait_anyway(policy):
    low = running(job("low", 4, estimate=500.0))
    large = job("large", 8)
    short, long = (
        job("short", 2, estimate=400.0, submitted_at=1.0),
        job("long", 2, estimate=401.0, submitted_at=1.0),
    )
    found = plan(moment(low, large, short, long, allocations=on(low, n=4)), Config(policy=policy))
    assert started(found) == ["short"]
    assert (found.explain["large"].code, found.explain["large"].eta) == ("promised", 500.0)
    assert found.explain["long"].code == "promised" or found.explain["long"].code == "would_delay"


def test_a_job_without_an_estimate_starts_beside_a_promise_and_never_in_it():
    low = running(job("low", 4, estimate=500.0))
    nodes, allocations = (node("n"), node("m", 4)), on(low, n=4)
    large, other = job("large", 8, within=Within.NODE), job("other", 4, submitted_at=1.0)
    found = plan(moment(low, large, other, nodes=nodes, allocations=allocations))
    (start,) = [action for action in found.actions if isinstance(action, Start)]
    assert [place.node for place in start.placement] == ["m"]


def test_when_nobody_said_how_long_he_takes_nobody_is_told_when_he_starts():
    low = running(job("low", 8))
    found = plan(moment(low, job("next", 8), allocations=on(low, n=8)))
    assert (found.explain["next"].code, found.explain["next"].eta) == ("promised", None)


def test_a_job_that_takes_longer_than_was_said_makes_the_eta_a_guess():
    low = running(job("low", 8, estimate=50.0))
    assert plan(moment(low, job("next", 8), allocations=on(low, n=8))).explain["next"].eta is None


def test_who_stands_behind_the_promised_has_a_reason_all_the_same():
    low = running(job("low", 8, estimate=500.0))
    waiting = [job(f"j{n:02}", 8, estimate=10.0, submitted_at=float(n)) for n in range(6)]
    found = plan(moment(low, *waiting, allocations=on(low, n=8)), Config(reservations_max=3))
    assert [found.explain[j.id].eta for j in waiting] == [500.0, 510.0, 520.0, None, None, None]
    assert found.explain["j05"].sentence == "it waits behind j00, which waits for room"


def test_a_promise_on_a_node_that_goes_away_is_void():
    low = running(job("low", 8, estimate=500.0))
    old = Reservation(job="next", places=on_places(m=8), start_at=200.0, firm=True)
    nodes = (node("n"), node("m", state=NodeState.DRAINING))
    found = plan(moment(low, job("next", 8), nodes=nodes, allocations=on(low, n=8), reservations=(old,)))
    assert [place.node for place in found.reservations[0].places] == ["n"]


def on_places(**workers):
    return tuple(Place(node=name, workers=count) for name, count in workers.items())


JOBS = st.lists(
    st.tuples(
        st.integers(1, 12), st.sampled_from((4.0, 9.0, 25.0, 60.0)), st.sampled_from((0.5, 1.0, 7.0, 30.0))
    ),
    min_size=2,
    max_size=25,
)


@examples(200)
@given(machines=st.lists(st.sampled_from((2, 4, 8)), min_size=1, max_size=4), stream=JOBS)
def test_nobody_starts_later_than_he_was_told_first_when_estimates_are_right(machines, stream):
    cluster = TinyCluster([node(f"n{i}", size) for i, size in enumerate(machines)], Config(), delay=0.0)
    for number, (workers, seconds, pause) in enumerate(stream):
        cluster.submit(job(f"j{number}", min(workers, sum(machines)), estimate=seconds), seconds)
        cluster.cycle()
        while (moment := cluster.next_moment()) is not None and moment <= cluster.now + pause:
            pause -= moment - cluster.now
            cluster.advance(moment - cluster.now)
            cluster.cycle()
        cluster.advance(pause)
    cluster.run()
    for life in cluster.lives.values():
        (start,) = life.starts
        assert life.promised is None or start <= life.promised + 1e-6, life


@examples(200)
@given(machines=st.lists(st.sampled_from((2, 4, 8)), min_size=1, max_size=4), stream=JOBS)
def test_backfill_never_makes_the_head_of_the_queue_wait_longer(machines, stream):
    """With and without those behind it, the first that has to wait starts at the same moment, or sooner."""

    def start_of_head(jobs):
        cluster = TinyCluster([node(f"n{i}", size) for i, size in enumerate(machines)], Config(), delay=0.0)
        for number, (workers, seconds, _) in enumerate(jobs):
            cluster.submit(job(f"j{number:02}", min(workers, sum(machines)), estimate=seconds), seconds)
        # Submitted in this order, at one moment: the id decides by lot, so give them times.
        for number, life in enumerate(cluster.lives.values()):
            life.job = with_time(life.job, -100.0 + number)
        cluster.run()
        return [life.starts[0] for life in cluster.lives.values()]

    alone, used = 0, 0
    for workers, _, _ in stream:
        used += min(workers, sum(machines))
        alone += 1
        if used > sum(machines):
            break
    else:
        return
    assert start_of_head(stream)[alone - 1] <= start_of_head(stream[:alone])[alone - 1] + 1e-6


def with_time(job, at):
    return replace(job, submitted_at=at)
