from __future__ import annotations

import pytest

from orchestrator.scheduler import Policy, Snapshot, plan
from orchestrator.scheduler.actions import Reject, Start
from orchestrator.scheduler.queues import Ledger
from orchestrator.scheduler.snapshot import Limit, Queue
from tests.support.scheduling import POLICIES, config
from tests.support.tiny_cluster import gpus, job, node, on, running


def moment(*jobs, queues, allocations=()):
    return Snapshot(
        now=100.0, jobs=jobs, nodes=(node("n"), node("m")), queues=queues, allocations=allocations
    )


def started(found):
    return [action.job for action in found.actions if isinstance(action, Start)]


@pytest.mark.parametrize("policy", POLICIES)
def test_a_queue_never_uses_more_than_its_limit_and_the_reason_says_so(policy):
    queues = (Queue(id="q", limit=Limit(gpu_millis=4000)),)
    jobs = [job(f"j{n}", 2, submitted_at=float(n)) for n in range(3)]
    found = plan(moment(*jobs, queues=queues), config(policy))
    assert started(found) == ["j0", "j1"]
    reason = found.explain["j2"]
    assert reason.code == "queue_limit"
    assert dict(reason.facts) == {"queue": "q", "kind": "gpu_millis", "used": 4000, "limit": 4000}


@pytest.mark.parametrize("policy", POLICIES)
def test_nor_does_a_user_within_it(policy):
    queues = (Queue(id="q", user_limit=Limit(gpu_millis=2000)),)
    jobs = [job("a1", 2, user="ann"), job("a2", 1, user="ann", submitted_at=1.0), job("b", 2, user="bob")]
    found = plan(moment(*jobs, queues=queues), config(policy))
    assert sorted(started(found)) == ["a1", "b"]
    assert found.explain["a2"].sentence == "user ann may use 2000 gpu_millis in queue q, and uses 2000"


def test_who_waits_for_a_limit_is_not_overtaken_by_those_who_would_use_it_up():
    queues = (Queue(id="q", limit=Limit(gpu_millis=4000)),)
    at_work = running(job("r", 3))
    waiting = [job("large", 4), job("small", 1, submitted_at=1.0)]
    found = plan(moment(at_work, *waiting, queues=queues, allocations=on(at_work, n=3)))
    assert started(found) == []
    assert found.explain["small"].code == "queue_limit"


def test_a_job_beyond_the_limit_of_its_queue_is_refused():
    queues = (Queue(id="q", limit=Limit(gpu_millis=4000), user_limit=Limit(cpu_millis=5000)),)
    found = plan(moment(job("large", 5), job("cpus", 3), queues=queues))
    reasons = {action.job: action.reason.code for action in found.actions if isinstance(action, Reject)}
    assert reasons == {"large": "over_queue_limit", "cpus": "over_user_limit"}


def test_growth_stops_at_the_limit():
    queues = (Queue(id="q", limit=Limit(gpu_millis=6000)),)
    found = plan(moment(job("j", 1, 16), queues=queues))
    (start,) = found.actions
    assert sum(place.workers for place in start.placement) == 6


def test_quotas_that_are_not_given_are_parts_by_weight():
    ledger = Ledger((Queue(id="a", weight=3), Queue(id="b"), Queue(id="c", quota=gpus(1))), (10, 1000, 0))
    assert ledger.quota["a"] == (6, 600, 0)
    assert ledger.quota["b"] == (2, 200, 0)
    assert ledger.quota["c"] == gpus(1).amounts


def test_the_scarcest_kind_is_a_queues_share():
    ledger = Ledger((Queue(id="q", weight=2),), gpus(8).amounts)
    ledger.add(job("j", request=gpus(1)), 4)
    assert ledger.share("q") == 10**9 // 4
    assert ledger.share("elsewhere") == 0


def test_fair_share_lends_what_nobody_else_wants():
    queues = (Queue(id="q"), Queue(id="idle"))
    found = plan(moment(job("j", 16), queues=queues), config(Policy.FAIR))
    assert started(found) == ["j"]
