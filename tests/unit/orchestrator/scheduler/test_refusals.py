"""What a plan remembers of those it has refused makes it quicker, and nothing else.

But for this: who is told to leave may leave more than whoever he leaves for needs, and who was refused before
asks for that in the next plan only.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from unittest.mock import patch

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.scheduler import Config, Plan, Policy, Snapshot, plan
from orchestrator.scheduler.actions import Preempt, Resize, Start
from orchestrator.scheduler.lacks import Lack
from orchestrator.scheduler.refusals import Refusals
from orchestrator.scheduler.snapshot import Allocation, Job, JobState, Resources
from orchestrator.scheduler.standings import Alike
from tests.support import tiny_cluster
from tests.support.examples import examples
from tests.support.scheduling import POLICIES, QUEUES, clusters, config, live, snapshots
from tests.support.tiny_cluster import node


@contextmanager
def _forgetful() -> Iterator[None]:
    with ExitStack() as stack:
        for where, name, answer in (
            (Refusals, "start", None),
            (Refusals, "taking", None),
            (Alike, "has_to_wait", False),
            (Lack, "covers", False),
        ):
            stack.enter_context(patch.object(where, name, lambda *_, answer=answer: answer))
        yield


def _both(snapshot: Snapshot, settings: Config) -> Plan:
    found = plan(snapshot, settings)
    with _forgetful():
        exact = plan(snapshot, settings)
    changes = (Preempt, Resize, Start) if settings.policy is Policy.FAIR else (Preempt, Resize)
    if not settings.preemption or not any(isinstance(action, changes) for action in found.actions):
        assert exact.actions == found.actions
    return found


@st.composite
def crowds(draw: st.DrawFn) -> Snapshot:
    """Few nodes, nearly full, and many who wait for much the same: where what is remembered matters most."""
    machines = [node(f"n{number}") for number in range(3)]
    found, allocations = [], []
    for number in range(draw(st.integers(3, 9))):
        workers, place = draw(st.integers(1, 4)), machines[number % 3]
        if sum(a.workers for a in allocations if a.node == place.id) + workers > 8:
            continue
        made = draw(_alike(f"r{number}", workers))
        found.append(replace(made, state=JobState.RUNNING, started_at=made.submitted_at))
        allocations.append(Allocation(job=made.id, node=place.id, workers=workers))
    sizes = st.sampled_from((1, 1, 2, 3, 5, 9, 14))
    found += [draw(_alike(f"p{number}", draw(sizes))) for number in range(draw(st.integers(6, 18)))]
    return Snapshot(
        now=100.0, jobs=tuple(found), nodes=tuple(machines), queues=QUEUES, allocations=tuple(allocations)
    )


@st.composite
def _alike(draw: st.DrawFn, id: str, workers: int) -> Job:
    at = draw(st.sampled_from((0.0, 40.0, 80.0)))
    return Job(
        id=id,
        queue=draw(st.sampled_from(QUEUES)).id,
        priority=draw(st.sampled_from((0, 0, 1, 2))),
        submitted_at=at,
        last_change_at=at,
        request=Resources(gpu_millis=1000, memory_mib=draw(st.sampled_from((0, 0, 1)))),
        min_workers=workers,
        max_workers=workers,
        preemptible=draw(st.booleans()),
        attained_service=draw(st.sampled_from((0.0, 100.0))),
        estimate=draw(st.sampled_from((None, 65.0, 150.0, 400.0, 1000.0))),
        deadline=draw(st.sampled_from((None, 250.0, 600.0))),
        restart_cost=draw(st.sampled_from((0.0, 5.0))),
    )


@pytest.mark.parametrize("policy", POLICIES)
@examples(300)
@given(
    snapshot=st.one_of(crowds(), snapshots(pending=14)),
    promises=st.sampled_from((0, 1, 2, 32)),
    patient=st.sampled_from((0, 1, 8)),
    preemption=st.booleans(),
)
def test_a_plan_that_remembers_nothing_decides_the_same(policy, snapshot, promises, patient, preemption):
    settings = config(policy, reservations_max=promises, patient_max=patient, preemption=preemption)
    _both(snapshot, settings)


@pytest.mark.parametrize("policy", POLICIES)
@examples(30)
@given(data=st.data())
def test_nor_does_it_as_jobs_come_and_go(policy, data):
    cluster = data.draw(clusters(policy))
    with patch.object(tiny_cluster, "plan", _both):
        live(data.draw, cluster)
        cluster.run()
