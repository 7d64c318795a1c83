"""What became of the cluster since the plan was made: only what still fits is carried out."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.scheduler import Config, Policy, Snapshot, plan, recheck
from orchestrator.scheduler.actions import Preempt, Resize, Start
from orchestrator.scheduler.snapshot import JobState, NodeState, NodeType, Queue
from tests.support.examples import examples
from tests.support.scheduling import POLICIES, config, snapshots
from tests.support.tiny_cluster import gpus, job, node, on, running

ONE = (node("n"),)


def moment(*jobs, nodes=ONE, **fields):
    return Snapshot(now=100.0, jobs=jobs, nodes=nodes, queues=(Queue(id="q"),), **fields)


def reasons(plan_, fresh):
    kept, dropped = recheck(plan_, fresh)
    assert len(kept.actions) + len(dropped) == len(plan_.actions)
    return [drop.why for drop in dropped]


def test_a_start_is_dropped_whole_when_part_of_its_room_is_gone():
    waiting, thief = job("j", 8), running(job("thief", 1))
    found = plan(moment(waiting))
    assert reasons(found, moment(waiting)) == []
    fresh = moment(waiting, thief, allocations=on(thief, n=1))
    assert reasons(found, fresh) == ["node n has no room for 8 more workers"]


def test_starts_are_counted_against_those_before_them():
    found = plan(moment(job("a", 4), job("b", 4)))
    fresh = moment(job("a", 4), job("b", 4), nodes=(node("n", 6),))
    assert len(recheck(found, fresh)[0].actions) == 1


@pytest.mark.parametrize(
    ("fresh", "why"),
    [
        (moment(), "the job is gone"),
        (moment(job("j", 8, version=1)), "the job has changed: version 1 instead of 0"),
        (moment(job("j", 8, state=JobState.STARTING)), "the job is starting"),
        (moment(job("j", 8), nodes=()), "node n is not up"),
        (moment(job("j", 8), nodes=(node("n", state=NodeState.DRAINING),)), "node n is not up"),
        (moment(job("j", 8), job("k"), nodes=(node("n", for_job="k"),)), "node n is kept for k"),
        (moment(job("j", 9, 9)), "8 workers are not between 9 and 9"),
    ],
)
def test_a_start_that_was_overtaken_is_dropped(fresh, why):
    assert reasons(plan(moment(job("j", 8))), fresh) == [why]


def test_of_a_node_that_is_kept_for_a_gang_the_rest_is_given_out_with_its_start():
    """As the two share the nodes, neither can come first; what the gang leaves may go to the other."""
    nodes = (node("m", 4, for_job="k"), node("n", 4, for_job="j"))
    snapshot = moment(job("j", 3, 6), job("k", 2), nodes=nodes)
    found = plan(snapshot)
    (start,) = [action for action in found.actions if isinstance(action, Start) and action.job == "j"]
    assert {place.node for place in start.placement} == {"m", "n"}
    assert reasons(found, snapshot) == []


def test_nobody_is_stopped_for_a_job_that_does_not_wait_any_more():
    low, high = running(job("low", 8)), job("high", 8, priority=1)
    found = plan(moment(low, high, allocations=on(low, n=8)))
    assert any(isinstance(action, Preempt) for action in found.actions)
    assert reasons(found, moment(low, allocations=on(low, n=8))) == ["high does not wait any more"] * 2


def test_more_nodes_than_there_may_be_are_not_added():
    types = (NodeType(id="big", capacity=gpus(8), max_count=1),)
    found = plan(moment(job("j", 8), nodes=(), node_types=types))
    fresh = moment(job("j", 8), nodes=(node("other", type="big"),), node_types=types)
    assert reasons(found, fresh) == ["there may be 1 nodes of type big"]


def test_a_node_that_somebody_uses_now_stays():
    types = (NodeType(id="big", capacity=gpus(8), max_count=1),)
    idle = node("n", type="big", idle_since=-1000.0)
    found = plan(moment(nodes=(idle,), node_types=types))
    guest = running(job("guest"))
    fresh = moment(guest, nodes=(idle,), node_types=types, allocations=on(guest, n=1))
    assert reasons(found, fresh) == ["the node is in use"]


def test_growth_is_dropped_when_somebody_else_took_the_room():
    small, other = running(job("small", 1, 8)), running(job("other", 7))
    found = plan(moment(small, allocations=on(small, n=1)), Config(policy=Policy.ELASTIC))
    (resize,) = found.actions
    assert isinstance(resize, Resize)
    fresh = moment(small, other, allocations=(*on(small, n=1), *on(other, n=7)))
    assert reasons(found, fresh) == ["node n has no room for 7 more workers"]


@examples(200)
@given(before=snapshots(), data=st.data())
@pytest.mark.parametrize("policy", POLICIES)
def test_what_is_kept_fits_into_the_fresh_state(policy, before, data):
    """Whatever disappears, changes or shrinks between plan and act."""
    found = plan(before, config(policy))
    jobs = [
        replace(j, version=j.version + data.draw(st.sampled_from((0, 0, 0, 1))))
        for j in before.jobs
        if data.draw(st.integers(0, 5)) > 0
    ]
    nodes = [
        replace(n, capacity=data.draw(st.sampled_from((n.capacity, n.capacity, gpus(1)))))
        for n in before.nodes
        if data.draw(st.integers(0, 5)) > 0
    ]
    fresh = replace(before, jobs=tuple(jobs), nodes=tuple(nodes))
    kept, dropped = recheck(found, fresh)
    assert [a for a in found.actions if a in kept.actions] == list(kept.actions)
    assert len(kept.actions) + len(dropped) == len(found.actions)
    again, more = recheck(kept, fresh)
    assert (again, more) == (kept, ())
    free = {n.id: n.capacity.gpu_millis for n in nodes if n.state is NodeState.UP}
    known = {j.id: j for j in jobs}
    held: dict[tuple[str, str], int] = {}
    for a in fresh.allocations:
        if a.job in known:
            free[a.node] = free.get(a.node, 0) - a.workers * known[a.job].request.gpu_millis
            held[a.job, a.node] = held.get((a.job, a.node), 0) + a.workers - a.leaving
    was_over = {name for name, left in free.items() if left < 0}
    for action in kept.actions:
        if isinstance(action, Start | Resize):
            assert known[action.job].version == action.version
            for place in action.placement:
                more_here = max(0, place.workers - held.get((action.job, place.node), 0))
                free[place.node] = free.get(place.node, 0) - more_here * known[action.job].request.gpu_millis
    assert {name for name, left in free.items() if left < 0} <= was_over
