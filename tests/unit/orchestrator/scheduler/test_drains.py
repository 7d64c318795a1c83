from __future__ import annotations

import pytest

from orchestrator.scheduler import Snapshot, plan
from orchestrator.scheduler.actions import Preempt, Resize, Start
from orchestrator.scheduler.snapshot import NodeState, Queue
from tests.support.scheduling import POLICIES, config
from tests.support.tiny_cluster import job, node, on, running

GOING = node("going", state=NodeState.DRAINING, eta=1000.0)


def moment(*jobs, nodes, allocations, now=100.0):
    return Snapshot(now=now, jobs=jobs, nodes=nodes, queues=(Queue(id="q"),), allocations=allocations)


@pytest.mark.parametrize("policy", POLICIES)
def test_workers_move_off_a_node_that_goes_away(policy):
    at_work = running(job("j", 4))
    found = plan(moment(at_work, nodes=(GOING, node("n")), allocations=on(at_work, going=4)), config(policy))
    (resize,) = found.actions
    assert isinstance(resize, Resize)
    assert {place.node: place.workers for place in resize.placement} == {"n": 4}
    assert resize.reason.sentence == "node going goes away"


@pytest.mark.parametrize("policy", POLICIES)
def test_a_job_goes_on_with_fewer_when_there_is_no_room_elsewhere(policy):
    at_work, other = running(job("j", 2, 8)), running(job("other", 4))
    nodes, allocations = (GOING, node("n")), (*on(at_work, going=4, n=2), *on(other, n=4))
    found = plan(moment(at_work, other, nodes=nodes, allocations=allocations), config(policy))
    (resize,) = found.actions
    assert {place.node: place.workers for place in resize.placement} == {"n": 4}


def test_a_job_that_has_nowhere_to_go_trains_as_long_as_it_can_and_stops_in_time():
    at_work, other = running(job("j", 4)), running(job("other", 8))
    nodes, allocations = (GOING, node("n")), (*on(at_work, going=4), *on(other, n=8))
    early = plan(moment(at_work, other, nodes=nodes, allocations=allocations))
    assert (early.actions, early.next_wake_at) == ((), 940.0)
    (stop,) = plan(moment(at_work, other, nodes=nodes, allocations=allocations, now=940.0)).actions
    assert isinstance(stop, Preempt)
    assert (stop.job, stop.for_job) == ("j", None)


@pytest.mark.parametrize("policy", POLICIES)
def test_nothing_starts_on_a_node_that_goes_away(policy):
    found = plan(moment(job("j", 1), nodes=(GOING,), allocations=()), config(policy))
    assert not any(isinstance(action, Start) for action in found.actions)
    assert found.explain["j"].code == "no_such_node"
