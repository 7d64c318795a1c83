"""Who gives way: loans first, nobody who is not needed, and nobody who has only just started."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.scheduler import Config, Policy, Snapshot, plan
from orchestrator.scheduler.actions import Preempt, Resize, Start
from orchestrator.scheduler.config import QueueOrder
from orchestrator.scheduler.snapshot import Allocation, JobState, NodeState, Queue
from tests.support.examples import examples
from tests.support.scheduling import POLICIES, config, snapshots
from tests.support.tiny_cluster import TinyCluster, gpus, job, node, on, running

Q = Queue(id="q")

ONE = (node("n"),)


def moment(*jobs, nodes=ONE, allocations=(), now=100.0, queues=(Q,), **fields):
    return Snapshot(now=now, jobs=jobs, nodes=nodes, queues=queues, allocations=allocations, **fields)


def stopped(found):
    return sorted(action.job for action in found.actions if isinstance(action, Preempt))


def with_gone(snapshot, names, freed):
    """The moment after these jobs and these workers have gone."""
    jobs = tuple(job for job in snapshot.jobs if job.id not in names)
    allocations = []
    for allocation in snapshot.allocations:
        goes = allocation.leaving + freed.get((allocation.job, allocation.node), 0)
        if allocation.job not in names and allocation.workers > goes:
            allocations.append(replace(allocation, workers=allocation.workers - goes, leaving=0))
    return replace(snapshot, jobs=jobs, allocations=tuple(allocations))


@pytest.mark.parametrize("policy", POLICIES)
@examples(300)
@given(snapshot=snapshots(pending=1), fields=st.sampled_from(({}, {"priority": 9}, {"queue": "wide"})))
def test_victims_suffice_and_none_of_them_can_be_spared(policy, snapshot, fields):
    waiting = [job.id for job in snapshot.jobs if job.state is JobState.PENDING]
    jobs = tuple(replace(j, **(fields if j.id in waiting else {}), estimate=None) for j in snapshot.jobs)
    # Who leaves a node that goes away takes room first, when there is some: without those.
    stay = tuple(n for n in snapshot.nodes if n.state is not NodeState.DRAINING)
    moving = {a.job for a in snapshot.allocations if a.node not in {n.id for n in stay}}
    jobs = tuple(j for j in jobs if j.id not in moving)
    allocations = tuple(a for a in snapshot.allocations if a.job not in moving)
    snapshot = replace(snapshot, jobs=jobs, nodes=stay, allocations=allocations, node_types=())
    found = plan(snapshot, config(policy))
    stops = [a for a in found.actions if isinstance(a, Preempt) and a.for_job is not None]
    shrinks = [a for a in found.actions if isinstance(a, Resize) and a.for_job is not None]
    if not stops and not shrinks:
        return
    (beneficiary,) = {action.for_job for action in (*stops, *shrinks)}
    held = {(a.job, a.node): a.workers - a.leaving for a in snapshot.allocations}
    units = []
    for action in shrinks:
        after = {place.node: place.workers for place in action.placement}
        units += [
            (action.job, name)
            for (id, name), count in held.items()
            if id == action.job
            for _ in range(count - after.get(name, 0))
        ]

    def starts(names, lent):
        freed = {unit: lent.count(unit) for unit in lent}
        gone = {job.id for job in snapshot.jobs if job.state is JobState.STOPPING}
        after = with_gone(snapshot, {*names, *gone}, freed)
        without = Config(policy=policy, preemption=False)
        return any(isinstance(a, Start) and a.job == beneficiary for a in plan(after, without).actions)

    names = [action.job for action in stops]
    assert starts(names, units)
    for name in names:
        assert not starts([other for other in names if other != name], units), f"{name} could be spared"
    for number in range(len(units)):
        assert not starts(names, units[:number] + units[number + 1 :]), f"{units[number]} could be spared"


@examples(300)
@given(snapshot=snapshots())
@pytest.mark.parametrize("policy", POLICIES)
def test_nobody_is_stopped_before_its_time(policy, snapshot):
    jobs = {job.id: job for job in snapshot.jobs}
    for action in plan(snapshot, config(policy)).actions:
        if isinstance(action, Preempt) and action.for_job is not None:
            victim = jobs[action.job]
            protected = max(victim.min_runtime, 10 * victim.restart_cost)
            assert snapshot.now - victim.started_at >= protected
            if policy is Policy.PRIORITY:
                assert victim.priority < jobs[action.for_job].priority


def test_loans_go_before_anybody_is_stopped():
    low = running(job("low", 2, 6))
    other = running(job("other", 2))
    high = job("high", 4, priority=1)
    snapshot = moment(low, other, high, allocations=(*on(low, n=6), *on(other, n=2)))
    found = plan(snapshot)
    (resize,) = [a for a in found.actions if isinstance(a, Resize)]
    assert (resize.job, resize.for_job, resize.placement[0].workers) == ("low", "high", 2)
    assert stopped(found) == []
    assert found.explain["high"].sentence == "4 workers of others are leaving for it"


def test_even_a_job_of_low_priority_gets_its_minimum_from_loans():
    high = running(job("high", 1, 8, priority=9))
    snapshot = moment(high, job("low", 1), allocations=on(high, n=8))
    assert [a.for_job for a in plan(snapshot).actions if isinstance(a, Resize)] == ["low"]


def test_the_lowest_priority_goes_first_and_of_these_the_newest():
    jobs = [
        running(job("one", 2, priority=1)),
        running(job("old", 2), 10.0),
        running(job("new", 2), 20.0),
        running(job("lowest", 2, priority=-1), 5.0),
    ]
    allocations = [a for j in jobs for a in on(j, n=2)]
    snapshot = moment(*jobs, job("high", 4, priority=5), allocations=tuple(allocations))
    assert stopped(plan(snapshot)) == ["lowest", "new"]


def test_who_turns_out_not_to_be_needed_is_spared():
    small, large = running(job("small", 1), 90.0), running(job("large", 7), 80.0)
    allocations = (*on(small, n=1), *on(large, n=7))
    snapshot = moment(small, large, job("high", 7, priority=1), allocations=allocations)
    assert stopped(plan(snapshot)) == ["large"]


def test_an_equal_priority_does_not_give_way():
    low = running(job("low", 8))
    snapshot = moment(low, job("same", 8), allocations=on(low, n=8))
    assert stopped(plan(snapshot)) == []


def test_a_job_that_may_not_be_stopped_is_not():
    low = running(job("low", 8, preemptible=False))
    assert stopped(plan(moment(low, job("high", 8, priority=9), allocations=on(low, n=8)))) == []


def test_without_preemption_nobody_is_stopped():
    low = running(job("low", 8))
    snapshot = moment(low, job("high", 8, priority=9), allocations=on(low, n=8))
    assert stopped(plan(snapshot, Config(preemption=False))) == []
    assert stopped(plan(snapshot)) == ["low"]


def test_a_job_that_has_only_just_started_is_given_time_and_nobody_takes_the_room_meanwhile():
    low = running(job("low", 6, min_runtime=60.0), 90.0)
    small = job("small", 2, submitted_at=50.0)
    snapshot = moment(low, small, job("high", 8, priority=9), allocations=on(low, n=6))
    found = plan(snapshot)
    assert (stopped(found), found.next_wake_at) == ([], 150.0)
    assert (found.explain["high"].code, found.explain["high"].eta) == ("protected", 150.0)
    assert not any(isinstance(a, Start) for a in found.actions)
    later = replace(snapshot, now=150.0)
    assert stopped(plan(later)) == ["low"]


def test_only_the_first_wait_for_those_who_may_not_be_stopped_yet_the_others_for_whoever_may_be_now():
    nodes = tuple(node(name) for name in "abc")
    young = [running(job(f"young-{n}", 8, min_runtime=60.0), 90.0) for n in "ab"]
    old = running(job("old", 4, submitted_at=20.0), 10.0)
    high = [job(f"high-{n}", 8, priority=9, submitted_at=float(n)) for n in range(3)]
    small = job("small", 2, priority=1, submitted_at=50.0, estimate=1.0)
    allocations = (*on(young[0], a=8), *on(young[1], b=8), *on(old, c=4))
    snapshot = moment(*young, old, *high, small, nodes=nodes, allocations=allocations)
    found = plan(snapshot, Config(patient_max=1, reservations_max=1))
    assert stopped(found) == ["old"]  # for the first: for all three there is a place, but two are too young
    assert found.explain["high-0"].code == "making_room"
    assert [found.explain[f"high-{n}"].code for n in (1, 2)] == ["protected", "behind"]
    assert found.next_wake_at == 150.0


def test_nobody_is_stopped_for_less_than_it_costs():
    high = job("high", 8, priority=1)

    def gives_way(**fields):
        low = running(job("low", 8, **fields))
        return stopped(plan(moment(low, high, allocations=on(low, n=8)))) == ["low"]

    assert gives_way(estimate=110.0)  # it has 10 seconds left
    assert gives_way(estimate=110.0, restart_cost=9.0)
    assert not gives_way(estimate=110.0, restart_cost=10.0)
    assert not gives_way(estimate=110.0, checkpoint_at=20.0)  # it would lose what it did since
    assert gives_way(estimate=1000.0, restart_cost=10.0, checkpoint_at=20.0)


def test_a_queue_takes_back_what_is_its_own_from_those_who_borrow():
    queues = (Queue(id="q", quota=gpus(4)), Queue(id="p", quota=gpus(4)))
    first, second = running(job("first", 4), 1.0), running(job("second", 4), 2.0)
    allocations = (*on(first, n=4), *on(second, n=4))
    snapshot = moment(first, second, job("mine", 4, queue="p"), allocations=allocations, queues=queues)
    found = plan(snapshot, Config(policy=Policy.FAIR))
    assert stopped(found) == ["second"]
    (action,) = [a for a in found.actions if isinstance(a, Preempt)]
    assert action.reason.sentence == "queue p takes back for mine what was borrowed"
    # Beyond its quota it waits like anybody else.
    more = moment(first, second, job("more", 5, queue="p"), allocations=allocations, queues=queues)
    assert stopped(plan(more, Config(policy=Policy.FAIR))) == []


def test_within_a_queue_who_has_had_much_gives_way_if_that_is_its_order():
    old, new = running(job("old", 8)), job("new", 8, submitted_at=50.0)
    other = running(job("other", 8, queue="p"))
    queues = (Queue(id="q", quota=gpus(8)), Queue(id="p", quota=gpus(8)))
    snapshot = moment(
        old,
        other,
        new,
        nodes=(node("n"), node("m")),
        allocations=(*on(old, n=8), *on(other, m=8)),
        queues=queues,
    )
    fair = Config(policy=Policy.FAIR, service_levels=(800.0,))
    assert stopped(plan(snapshot, fair)) == []
    found = plan(snapshot, replace(fair, queue_order=QueueOrder.SERVICE))
    assert stopped(found) == ["old"]
    assert [a.reason.code for a in found.actions if isinstance(a, Preempt)] == ["service"]


def test_a_queue_within_its_quota_keeps_what_it_has():
    queues = (Queue(id="q", quota=gpus(8)), Queue(id="p", quota=gpus(0)))
    mine = running(job("mine", 8))
    snapshot = moment(mine, job("theirs", 1, queue="p", priority=9), allocations=on(mine, n=8), queues=queues)
    assert stopped(plan(snapshot, Config(policy=Policy.FAIR))) == []


def test_who_has_had_much_gives_way_to_who_has_had_little():
    old = running(job("old", 8))
    new = job("new", 8, submitted_at=50.0)
    config = Config(policy=Policy.SERVICE, service_levels=(800.0,))
    assert stopped(plan(moment(old, new, allocations=on(old, n=8), now=99.0), config)) == []
    found = plan(moment(old, new, allocations=on(old, n=8), now=100.0), config)
    assert stopped(found) == ["old"]


def test_what_somebody_leaves_is_kept_for_whom_he_left_it():
    """A later job, even of a higher priority, does not rob the one that others are leaving for."""
    cluster = TinyCluster([node("n")], Config(policy=Policy.PRIORITY), delay=30.0)
    cluster.submit(job("low", 8), 1000.0)
    cluster.cycle()
    cluster.advance(10.0)
    cluster.submit(job("high", 8, priority=1), 50.0)
    cluster.cycle()
    cluster.advance(5.0)
    for number in range(3):
        cluster.submit(job(f"robber{number}", 8, priority=2 + number), 50.0)
        cluster.cycle()
        cluster.advance(5.0)
        assert any(r.job == "high" and r.firm for r in cluster.reservations)
    cluster.advance(20.0)
    cluster.cycle()
    assert cluster.lives["high"].starts == [cluster.now]


@examples(100)
@given(delay=st.sampled_from((1.0, 30.0)), data=st.data())
def test_a_job_that_others_leave_for_starts_when_they_have_left_whoever_arrives(delay, data):
    cluster = TinyCluster([node("a"), node("b")], Config(policy=Policy.PRIORITY), delay=delay)
    for number in range(4):
        cluster.submit(job(f"low{number}", 4), 1e4)
    cluster.cycle()
    cluster.advance(1.0)
    cluster.submit(job("high", data.draw(st.integers(1, 16)), priority=1), 1e4)
    cluster.cycle()
    leaving = cluster.now + delay
    while cluster.now < leaving:
        workers, priority = data.draw(st.integers(1, 16)), data.draw(st.integers(0, 9))
        arrival = job(f"x{cluster.now}", workers, priority=priority)
        cluster.submit(arrival, 1e4)
        cluster.cycle()
        cluster.advance(min(data.draw(st.sampled_from((0.5, 3.0, 11.0))), leaving - cluster.now))
    cluster.cycle()
    assert cluster.lives["high"].starts


def test_workers_that_leave_anyway_are_waited_for():
    going = replace(running(job("going", 8)), state=JobState.STOPPING)
    other = running(job("other", 8))
    allocations = (Allocation(job="going", node="n", workers=8, leaving=8), *on(other, m=8))
    snapshot = moment(
        going, other, job("high", 8, priority=3), nodes=(node("n"), node("m")), allocations=allocations
    )
    found = plan(snapshot)
    assert stopped(found) == []
    assert found.reservations[0].firm
