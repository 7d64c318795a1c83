"""Workers beyond a job's minimum: who gets them, and that they come back."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.scheduler import Config, Policy, Snapshot, plan
from orchestrator.scheduler.actions import Preempt, Resize, Start
from orchestrator.scheduler.sizes import speed
from orchestrator.scheduler.snapshot import Queue, Within
from tests.support.examples import examples
from tests.support.scheduling import POLICIES, config
from tests.support.tiny_cluster import TinyCluster, job, node, on, running

LINEAR = ((64, 64.0),)
POOR = ((1, 1.0), (64, 7.3))

ONE = (node("n"),)


def moment(*jobs, nodes=ONE, allocations=(), now=1000.0):
    return Snapshot(now=now, jobs=jobs, nodes=nodes, queues=(Queue(id="q"),), allocations=allocations)


def sizes(found):
    """What each job should have, of those that change."""
    changes = [a for a in found.actions if isinstance(a, Start | Resize)]
    return {action.job: sum(place.workers for place in action.placement) for action in changes}


@pytest.mark.parametrize("policy", POLICIES)
def test_a_job_starts_with_as_many_as_it_can_use_when_nobody_else_needs_them(policy):
    assert sizes(plan(moment(job("j", 2, 6)), config(policy))) == {"j": 6}


@pytest.mark.parametrize("policy", POLICIES)
def test_and_with_its_minimum_when_others_do(policy):
    waiting = [job(f"j{n}", 2, 8, submitted_at=float(n)) for n in range(4)]
    assert sizes(plan(moment(*waiting), config(policy))) == dict.fromkeys(("j0", "j1", "j2", "j3"), 2)


def test_a_running_job_grows_into_what_others_left_near_where_it_is():
    nodes = (node("far", zone="b"), node("n", zone="a"), node("m", zone="a"))
    at_work = running(job("j", 2, 9))
    found = plan(moment(at_work, nodes=nodes, allocations=on(at_work, n=2)))
    (resize,) = found.actions
    assert {place.node: place.workers for place in resize.placement} == {"n": 8, "m": 1}


def test_a_job_that_has_to_be_on_one_node_grows_there_only():
    at_work = running(job("j", 2, 16, within=Within.NODE))
    found = plan(moment(at_work, nodes=(node("n"), node("m")), allocations=on(at_work, n=2)))
    assert sizes(found) == {"j": 8}


def test_sizes_settle_before_they_change_again():
    at_work = running(job("j", 2, 8), last_change_at=990.0)
    found = plan(moment(at_work, allocations=on(at_work, n=2)), Config(resize_every=60.0))
    assert (found.actions, found.next_wake_at) == ((), 1050.0)


def test_spare_workers_go_to_those_that_speed_up_most():
    jobs = [running(job("poor", 1, 8, speed_curve=POOR)), running(job("linear", 1, 8, speed_curve=LINEAR))]
    allocations = (*on(jobs[0], n=1), *on(jobs[1], n=1))
    found = plan(moment(*jobs, allocations=allocations), Config(policy=Policy.ELASTIC))
    assert sizes(found) == {"linear": 7}


def test_and_are_taken_from_those_that_gain_less_without_a_stop():
    jobs = [running(job("poor", 1, 8, speed_curve=POOR)), running(job("linear", 1, 8, speed_curve=LINEAR))]
    allocations = (*on(jobs[0], n=7), *on(jobs[1], n=1))
    found = plan(moment(*jobs, allocations=allocations), Config(policy=Policy.ELASTIC))
    assert sizes(found) == {"poor": 1}
    assert not any(isinstance(action, Preempt) for action in found.actions)


def test_of_jobs_that_gain_the_same_those_that_have_had_little_come_first():
    old = running(job("old", 1, 8, speed_curve=LINEAR, attained_service=50_000.0))
    new = running(job("new", 1, 8, speed_curve=LINEAR), 990.0)
    allocations = (*on(old, n=1), *on(new, n=1))
    found = plan(moment(old, new, allocations=allocations), Config(policy=Policy.ELASTIC, resize_every=0.0))
    assert sizes(found) == {"new": 7}


@pytest.mark.parametrize(
    ("curve", "workers", "expected"),
    [
        (LINEAR, 5, 5.0),
        (LINEAR, 100, 64.0),
        (((2, 1.5), (4, 2.0)), 1, 0.75),
        (((2, 1.5), (4, 2.0)), 3, 1.75),
        ((), 1, 1.0),
        ((), 0, 0.0),
    ],
)
def test_speed_is_read_off_the_curve(curve, workers, expected):
    assert speed(job("j", speed_curve=curve), workers) == pytest.approx(expected)


def test_a_job_of_unknown_speed_gains_less_with_each_worker():
    gains = [speed(job("j"), n + 1) - speed(job("j"), n) for n in range(1, 30)]
    assert gains == sorted(gains, reverse=True)
    assert gains[-1] > 0


@examples(150)
@given(data=st.data())
def test_sizes_come_to_rest_and_nothing_that_somebody_could_use_is_left(data):
    """With linear jobs, and nobody arriving: after a few plans nothing changes, and all GPUs are in use."""
    machines = [
        node(f"n{i}", data.draw(st.sampled_from((2, 4, 8)))) for i in range(data.draw(st.integers(1, 4)))
    ]
    total = sum(machine.capacity.gpu_millis // 1000 for machine in machines)
    cluster = TinyCluster(machines, config(Policy.ELASTIC, resize_every=0.0), delay=1.0)
    count = data.draw(st.integers(1, min(6, total)))
    for number in range(count):
        curve = data.draw(st.sampled_from((LINEAR, POOR, ())))
        had = data.draw(st.sampled_from((1e5, 1e7)))  # so much that it is not more by a factor of two soon
        cluster.submit(job(f"j{number}", 1, 64, speed_curve=curve, attained_service=had), 1e9)
        cluster.cycle()
        cluster.advance(data.draw(st.sampled_from((1.0, 50.0))))
    for _ in range(8):
        cluster.cycle()
        cluster.advance(1.0)
    assert all(sum(life.spots.values()) >= 1 for life in cluster.lives.values())
    assert sum(sum(life.spots.values()) for life in cluster.lives.values()) == total
    assert cluster.cycle().actions == ()
