"""Deadlines: what can be met is promised and kept; what cannot is told the earliest date."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from orchestrator.scheduler import Config, Policy, Snapshot, plan
from orchestrator.scheduler.actions import Preempt, Start
from orchestrator.scheduler.snapshot import Queue
from tests.support.examples import examples
from tests.support.tiny_cluster import TinyCluster, job, node, on, running

DEADLINE = Config(policy=Policy.DEADLINE)


def moment(*jobs, allocations=(), **fields):
    return Snapshot(
        now=100.0, jobs=jobs, nodes=(node("n"),), queues=(Queue(id="q"),), allocations=allocations, **fields
    )


def test_a_deadline_that_can_be_met_without_disturbing_anybody_is():
    at_work = running(job("r", 8, estimate=300.0))
    urgent = job("urgent", 8, estimate=100.0, deadline=400.0)
    found = plan(moment(at_work, urgent, allocations=on(at_work, n=8)), DEADLINE)
    assert found.policy_state.admitted == ("urgent",)
    assert found.explain["urgent"].eta == 300.0
    assert not any(isinstance(action, Preempt) for action in found.actions)


def test_others_make_room_for_it_if_there_is_no_other_way():
    at_work = running(job("r", 8, estimate=300.0))
    urgent = job("urgent", 8, estimate=100.0, deadline=399.0)
    found = plan(moment(at_work, urgent, allocations=on(at_work, n=8)), DEADLINE)
    assert [action.job for action in found.actions if isinstance(action, Preempt)] == ["r"]
    assert found.policy_state.admitted == ("urgent",)


def test_but_not_those_who_have_a_deadline_too():
    at_work = running(job("r", 8, estimate=300.0, deadline=300.0))
    urgent = job("urgent", 8, estimate=100.0, deadline=399.0)
    found = plan(moment(at_work, urgent, allocations=on(at_work, n=8)), DEADLINE)
    assert not any(isinstance(action, Preempt) for action in found.actions)
    assert found.policy_state.admitted == ()
    assert found.explain["urgent"].sentence == "its deadline cannot be met: the earliest end is 400.0"
    assert found.explain["urgent"].eta == 300.0


def test_a_hopeless_deadline_is_told_and_the_job_runs_all_the_same():
    found = plan(moment(job("late", 8, estimate=100.0, deadline=150.0)), DEADLINE)
    assert [action.job for action in found.actions if isinstance(action, Start)] == ["late"]
    assert found.policy_state.admitted == ()


STREAM = st.lists(
    st.tuples(
        st.sampled_from((1, 2, 4, 8)),
        st.sampled_from((5.0, 20.0, 60.0)),
        st.sampled_from((None, 10.0, 30.0, 90.0, 300.0)),
        st.sampled_from((0.0, 3.0, 20.0)),
    ),
    min_size=2,
    max_size=20,
)


@examples(200)
@given(machines=st.lists(st.sampled_from((4, 8)), min_size=1, max_size=3), stream=STREAM)
def test_a_deadline_that_was_promised_is_kept(machines, stream):
    """With estimates that are right, and orders that take no time."""
    cluster = TinyCluster([node(f"n{i}", size) for i, size in enumerate(machines)], DEADLINE, delay=0.0)
    admitted = set()

    def cycle():
        cluster.settle()
        admitted.update(cluster.policy_state.admitted)

    for number, (workers, seconds, slack, pause) in enumerate(stream):
        deadline = None if slack is None else cluster.now + slack
        estimate = seconds
        known = {"estimate": estimate, "deadline": deadline}
        cluster.submit(job(f"j{number}", min(workers, sum(machines)), **known), seconds)
        cycle()
        end = cluster.now + pause
        while (moment := cluster.next_moment()) is not None and moment <= end:
            cluster.advance(moment - cluster.now)
            cycle()
        cluster.advance(end - cluster.now)
    cycle()
    while (moment := cluster.next_moment()) is not None:
        cluster.advance(moment - cluster.now)
        cycle()
    for id in admitted:
        life = cluster.lives[id]
        assert life.done_at is not None
        assert life.done_at <= life.job.deadline + 1e-6, life
