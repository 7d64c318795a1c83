"""The rules that hold for every policy, over random clusters and random lives."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.scheduler import Policy, Snapshot, plan, recheck
from orchestrator.scheduler.actions import AddNodes, DrainNode, Preempt, Reject, Reserve, Resize, Start
from orchestrator.scheduler.snapshot import JobState
from tests.support.examples import examples
from tests.support.scheduling import POLICIES, QUEUES, clusters, config, live, snapshots
from tests.support.tiny_cluster import TinyCluster, check_reasons, gpus, job, node, on, running

LIVES = examples(60)
MOMENTS = examples(150)


@pytest.mark.parametrize("policy", POLICIES)
@LIVES
@given(data=st.data())
def test_whatever_happens_gangs_are_whole_limits_hold_and_all_jobs_end(policy, data):
    cluster = data.draw(clusters(policy))
    live(data.draw, cluster)  # checks after every plan
    cluster.run()
    for life in cluster.lives.values():
        if life.done_at is None:  # nothing but a cluster that is too small for it may keep a job waiting
            reason = plan(cluster.snapshot(), cluster.config).explain[life.job.id]
            assert reason.code in ("no_such_node", "too_large"), reason


@pytest.mark.parametrize("policy", POLICIES)
@MOMENTS
@given(snapshot=snapshots())
def test_every_plan_fits_the_moment_that_it_was_made_for(policy, snapshot):
    found = plan(snapshot, config(policy))
    check_reasons(snapshot, found)
    kept, dropped = recheck(found, snapshot)
    assert dropped == ()
    assert kept == found
    assert found.next_wake_at is None or found.next_wake_at > snapshot.now


@pytest.mark.parametrize("policy", POLICIES)
@MOMENTS
@given(snapshot=snapshots())
def test_a_plan_that_is_not_through_asks_for_the_next_and_that_has_done_more(policy, snapshot):
    whole, first = plan(snapshot, config(policy)), plan(snapshot, config(policy, takings_max=1))
    for_whom = {a.for_job for a in first.actions if isinstance(a, (Preempt, Resize)) and a.for_job}
    assert len(for_whom) <= 1
    if for_whom:
        assert first.next_wake_at == snapshot.now
        stops = [a for a in first.actions if isinstance(a, Preempt)]
        assert all(action in whole.actions for action in stops)  # as far as it went it is the same
    else:
        assert first == whole


@pytest.mark.parametrize("policy", POLICIES)
@MOMENTS
@given(snapshot=snapshots(), seed=st.integers(0, 99))
def test_the_same_moment_gives_the_same_plan_however_it_is_listed(policy, snapshot, seed):
    def shuffled(things):
        return tuple(random.Random(seed).sample(things, len(things)))

    again = replace(
        snapshot,
        jobs=shuffled(snapshot.jobs),
        nodes=shuffled(snapshot.nodes),
        queues=shuffled(snapshot.queues),
        allocations=shuffled(snapshot.allocations),
    )
    first, second = plan(snapshot, config(policy)), plan(again, config(policy))
    assert list(first.explain.items()) == list(second.explain.items())
    assert first == second


@pytest.mark.parametrize("policy", POLICIES)
@MOMENTS
@given(snapshot=snapshots())
def test_actions_are_about_jobs_that_can_take_them(policy, snapshot):
    jobs = {job.id: job for job in snapshot.jobs}
    found = plan(snapshot, config(policy))
    about = [a.job for a in found.actions if isinstance(a, Start | Resize | Preempt | Reject)]
    assert len(about) == len(set(about))
    for action in found.actions:
        match action:
            case Start(job=id, version=version) | Reject(job=id, version=version):
                assert (jobs[id].state, jobs[id].version) == (JobState.PENDING, version)
            case Resize(job=id):
                assert jobs[id].state is JobState.RUNNING
            case Preempt(job=id, for_job=for_job):
                assert jobs[id].state is JobState.RUNNING
                assert jobs[id].preemptible or for_job is None
            case Reserve(reservation=reservation):
                assert jobs[reservation.job].state is JobState.PENDING
            case AddNodes(for_job=id):
                assert jobs[id].state is JobState.PENDING
            case DrainNode(node=name):
                assert all(a.node != name for a in snapshot.allocations)


@pytest.mark.parametrize("policy", POLICIES)
@LIVES
@given(data=st.data())
def test_when_nothing_arrives_or_ends_nobody_takes_back_what_was_taken_from_him(policy, data):
    """Time goes on all the same, and what jobs have had grows: under least attained service a job that was
    let in falls a level, and may have to give way again, once for each level and once for each promotion."""
    cluster = data.draw(clusters(policy))
    live(data.draw, cluster, count=8)
    for life in cluster.lives.values():
        life.left = 1e7
    cluster.preemptions.clear()
    starved = 0.0
    for _ in range(40):
        cluster.settle()
        before = len(cluster.preemptions)
        cluster.advance(7.0)
        starved += 7.0
        if len(cluster.preemptions) == before and starved > 300.0:
            break
    pairs = cluster.preemptions
    reversals = [(a, b) for a, b in pairs if (b, a) in pairs]
    if policy in (Policy.SERVICE, Policy.ELASTIC):
        assert all(pairs.count(pair) <= 2 for pair in pairs), pairs
    else:
        assert reversals == [], pairs


def test_without_anything_there_is_nothing_to_do():
    found = plan(Snapshot(now=0.0))
    assert (found.actions, dict(found.explain), found.next_wake_at) == ((), {}, None)


def test_many_jobs_of_a_queue_start_in_one_plan():
    waiting = tuple(job(f"j{n}") for n in range(8))
    found = plan(Snapshot(now=0.0, jobs=waiting, nodes=(node("n"),), queues=(QUEUES[0],)))
    assert sorted(a.job for a in found.actions) == sorted(j.id for j in waiting)


def test_a_job_of_a_queue_that_does_not_exist_is_refused():
    found = plan(Snapshot(now=0.0, jobs=(job("j"),), nodes=(node("n"),)))
    (refused,) = found.actions
    assert isinstance(refused, Reject)
    assert refused.reason.sentence == "there is no queue q"


def test_of_jobs_submitted_at_the_same_moment_the_seed_decides():
    waiting = tuple(job(f"j{n}", 8) for n in range(6))
    first = set()
    for seed in range(20):
        snapshot = Snapshot(now=0.0, jobs=waiting, nodes=(node("n"),), queues=(QUEUES[0],), seed=seed)
        first |= {a.job for a in plan(snapshot).actions if isinstance(a, Start)}
    assert len(first) > 1


def test_a_job_that_is_starting_is_not_disturbed():
    low = running(job("low", 8), state=JobState.STARTING)
    high = job("high", 8, priority=5)
    snapshot = Snapshot(
        now=50.0, jobs=(low, high), nodes=(node("n"),), queues=(QUEUES[0],), allocations=on(low, n=8)
    )
    assert not any(isinstance(a, Preempt) for a in plan(snapshot).actions)


def test_a_job_whose_node_died_goes_on_as_soon_as_there_is_room():
    cluster = TinyCluster([node("a"), node("b")], config(Policy.PRIORITY))
    cluster.submit(job("j", 8, request=gpus(1)), 100.0)
    cluster.cycle()
    cluster.kill("a")
    cluster.run()
    assert len(cluster.lives["j"].starts) == 2
    assert cluster.lives["j"].done_at is not None
