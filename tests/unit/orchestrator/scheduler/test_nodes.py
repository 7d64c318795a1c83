"""Nodes come for whole gangs or not at all, and go when nobody needs them."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.scheduler import Config, Policy, Snapshot, plan
from orchestrator.scheduler.actions import AddNodes, DrainNode, Start
from orchestrator.scheduler.snapshot import LaunchTrouble, Limit, Market, NodeState, NodeType, Queue, Within
from tests.support.examples import examples
from tests.support.scheduling import config
from tests.support.tiny_cluster import TinyCluster, gpus, job, node, on, running

BIG = NodeType(id="big", capacity=gpus(8), zones=("a", "b"), price=8.0, max_count=4)
SMALL = NodeType(id="small", capacity=gpus(2), zones=("a",), price=2.5, max_count=10)


def moment(*jobs, nodes=(), types=(BIG,), now=100.0, **fields):
    return Snapshot(now=now, jobs=jobs, nodes=nodes, node_types=types, queues=(Queue(id="q"),), **fields)


def added(found):
    return [(a.type, a.zone, a.count, a.for_job) for a in found.actions if isinstance(a, AddNodes)]


def test_all_that_a_gang_lacks_is_added_at_once():
    found = plan(moment(job("j", 20)))
    assert added(found) == [("big", "a", 3, "j")]
    assert (found.explain["j"].code, found.explain["j"].eta) == ("nodes_booting", 220.0)


def test_or_nothing_if_so_many_may_not_be_had():
    found = plan(moment(job("j", 33)))
    assert added(found) == []
    assert found.explain["j"].code == "no_such_node"


def test_what_is_free_already_counts_and_is_kept_until_the_rest_is_there():
    at_work = running(job("r", 4))
    fields = {"nodes": (node("n"),), "allocations": on(at_work, n=4)}
    found = plan(moment(at_work, job("j", 8), **fields))
    assert added(found) == [("big", "a", 1, "j")]
    coming = node("new", type="big", state=NodeState.BOOTING, eta=200.0, for_job="j", zone="a")
    later = moment(
        at_work,
        job("j", 8),
        job("late", 4, submitted_at=110.0),
        now=150.0,
        nodes=(node("n"), coming),
        allocations=on(at_work, n=4),
        reservations=found.reservations,
        types=(),
    )
    assert not any(isinstance(a, Start) for a in plan(later).actions)
    there = replace(
        later, now=200.0, nodes=(node("n"), replace(coming, state=NodeState.UP, idle_since=200.0))
    )
    assert "j" in [a.job for a in plan(there).actions if isinstance(a, Start)]


def test_the_cheapest_way_is_taken():
    assert added(plan(moment(job("j", 2), types=(BIG, SMALL)))) == [("small", "a", 1, "j")]
    assert added(plan(moment(job("j", 8), types=(BIG, SMALL)))) == [("big", "a", 1, "j")]


def test_a_gang_that_has_to_be_on_one_node_gets_one_that_is_large_enough():
    found = plan(moment(job("j", 4, within=Within.NODE), types=(SMALL, BIG)))
    assert added(found) == [("big", "a", 1, "j")]


def test_a_job_that_may_not_be_stopped_gets_no_spot_nodes():
    spot = replace(BIG, id="spot", market=Market.SPOT, price=1.0)
    assert added(plan(moment(job("j", 8), types=(BIG, spot))))[0][0] == "spot"
    assert added(plan(moment(job("j", 8, preemptible=False), types=(BIG, spot))))[0][0] == "big"


def test_nodes_have_to_have_the_labels():
    labelled = replace(BIG, id="h100", labels={"gpu": "h100"}, price=99.0)
    assert added(plan(moment(job("j", 8, selector={"gpu": "h100"}), types=(BIG, labelled))))[0][0] == "h100"


@pytest.mark.parametrize(("failures", "until"), [(1, 30.0), (2, 60.0), (4, 240.0), (5, 3600.0), (50, 3600.0)])
def test_a_zone_that_had_none_is_left_alone_for_a_while_that_doubles(failures, until):
    trouble = LaunchTrouble(type="big", zone="a", failures=failures, failed_at=0.0)
    only_here = replace(BIG, zones=("a",))

    def at(now, types):
        return plan(moment(job("j", 8), now=now, types=types, launch_troubles=(trouble,)))

    assert added(at(until - 1.0, (BIG,))) == [("big", "b", 1, "j")]
    refused = at(until - 1.0, (only_here,))
    assert added(refused) == []
    assert (refused.explain["j"].code, refused.next_wake_at) == ("nodes_refused", until)
    assert added(at(until, (only_here,))) == [("big", "a", 1, "j")]


def test_who_starts_soon_anyway_gets_no_nodes():
    at_work = running(job("r", 8, estimate=150.0))
    fields = {"nodes": (node("n"),), "allocations": on(at_work, n=8)}
    assert added(plan(moment(at_work, job("j", 8), **fields))) == []
    slow = replace(at_work, estimate=5000.0)
    assert added(plan(moment(slow, job("j", 8), **fields))) == [("big", "a", 1, "j")]


def test_who_waits_for_a_limit_gets_no_nodes():
    queue = Queue(id="q", limit=Limit(gpu_millis=8000))
    at_work = running(job("r", 8))
    snapshot = moment(at_work, job("j", 8), nodes=(node("n"),), allocations=on(at_work, n=8))
    assert added(plan(replace(snapshot, queues=(queue,)))) == []


def drained(found):
    return [action.node for action in found.actions if isinstance(action, DrainNode)]


def test_a_node_that_we_added_goes_when_it_was_empty_for_a_while():
    idle = node("n", type="big", idle_since=0.0)
    assert drained(plan(moment(nodes=(idle,), now=299.0))) == []
    assert plan(moment(nodes=(idle,), now=299.0)).next_wake_at == 300.0
    assert drained(plan(moment(nodes=(idle,), now=300.0))) == ["n"]
    assert drained(plan(moment(nodes=(replace(idle, type=""),), now=300.0))) == []


def test_so_many_stay_as_the_type_says():
    nodes = tuple(node(f"n{i}", type="big", idle_since=0.0) for i in range(3))
    assert drained(plan(moment(nodes=nodes, types=(replace(BIG, min_count=2),), now=999.0))) == ["n0"]


def test_a_node_whose_gang_is_still_booting_is_never_idle_and_nobody_else_gets_it():
    here = node("here", type="big", for_job="j", idle_since=0.0)
    coming = node("coming", type="big", for_job="j", state=NodeState.BOOTING, eta=2000.0)
    found = plan(moment(job("j", 16), job("thief", 1), nodes=(here, coming), types=(BIG,), now=1000.0))
    assert drained(found) == []
    assert not any(isinstance(a, Start) for a in found.actions)
    assert found.explain["j"].eta == 2000.0
    assert ("big", "a", 1, "j") not in added(found)


def test_when_its_gang_is_gone_it_is_anybodys():
    here = node("here", type="big", for_job="j", idle_since=0.0)
    found = plan(moment(job("other", 1), nodes=(here,), now=1000.0))
    assert [a.job for a in found.actions if isinstance(a, Start)] == ["other"]


def test_and_when_the_rest_of_the_gang_cannot_be_had_it_goes():
    here = node("here", type="big", zone="a", for_job="j", idle_since=0.0)
    troubles = tuple(LaunchTrouble(type="big", zone=z, failures=9, failed_at=900.0) for z in "ab")
    found = plan(moment(job("j", 16), nodes=(here,), now=1000.0, launch_troubles=troubles))
    assert drained(found) == ["here"]


@examples(100)
@given(data=st.data())
def test_gangs_get_all_their_nodes_all_jobs_end_and_then_all_nodes_go(data):
    types = (BIG, SMALL)
    policy = data.draw(st.sampled_from(list(Policy)))
    cluster = TinyCluster([], config(policy, idle_seconds=50.0), types=types, delay=1.0)
    for number in range(data.draw(st.integers(1, 8))):
        cluster.submit(job(f"j{number}", data.draw(st.sampled_from((1, 2, 5, 8, 16, 30)))), 40.0)
        for action in cluster.cycle().actions:
            if isinstance(action, AddNodes):
                (type,) = [type for type in types if type.id == action.type]
                mine = [n for n in cluster.nodes.values() if n.for_job == action.for_job]
                free = sum(n.capacity.gpu_millis for n in cluster.nodes.values()) // 1000
                assert free >= cluster.lives[action.for_job].job.min_workers
                assert len(mine) >= action.count
                assert sum(n.type == type.id for n in cluster.nodes.values()) <= type.max_count
        cluster.advance(data.draw(st.sampled_from((0.0, 10.0, 130.0))))
    cluster.run()
    assert all(life.done_at is not None for life in cluster.lives.values())
    while cluster.nodes:
        cluster.cycle()
        moment = cluster.next_moment()
        if moment is None:
            break
        cluster.advance(moment - cluster.now)
    assert cluster.nodes == {}


def test_scaling_can_be_turned_off():
    snapshot = moment(job("j", 8), nodes=(node("n", 2, type="big", idle_since=0.0),), now=999.0)
    found = plan(snapshot, Config(scale_nodes=False))
    assert (added(found), drained(found)) == ([], [])
