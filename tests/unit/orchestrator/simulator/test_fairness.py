"""Shares of the cluster, and what queues would have on theirs."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from orchestrator.scheduler import Policy
from orchestrator.simulator.compare import Shares, Study
from orchestrator.simulator.fairness import equal_shares, shares_by_demand
from orchestrator.simulator.trace import TraceJob


def job(id, queue, at=0.0, seconds=100.0, size=1):
    return TraceJob(
        id=id, submitted_at=at, seconds=seconds, gpus=size, queue=queue, min_workers=size, max_workers=size
    )


@given(
    brought=st.lists(st.tuples(st.integers(1, 40), st.integers(1, 10**6)), min_size=1, max_size=8),
    total=st.integers(8, 600),
)
def test_shares_by_demand_are_the_whole_cluster_and_hold_the_largest_gang(brought, total):
    jobs = [job(f"j{n}", f"q{n}", seconds=seconds, size=size) for n, (size, seconds) in enumerate(brought)]
    shares = shares_by_demand(jobs, total)
    if sum(size for size, _ in brought) < total:
        assert sum(shares.values()) == total
        assert all(shares[f"q{n}"] >= size for n, (size, _) in enumerate(brought))
        work = {f"q{n}": size * seconds for n, (size, seconds) in enumerate(brought)}
        for one, other in ((a, b) for a in shares for b in shares):
            if work[one] > work[other] and shares[one] + 1 < shares[other]:
                size = brought[int(other[1:])][0]
                assert shares[other] <= size + 1  # it has more for its largest gang only
    else:
        assert all(share >= 1 for share in shares.values())


def test_equal_shares_are_equal():
    assert equal_shares([job("a", "x"), job("b", "y"), job("c", "z")], 8) == {"x": 3, "y": 3, "z": 2}


def test_a_queue_that_is_crowded_out_has_a_ratio_above_one_and_fair_share_mends_it():
    flood = [job(f"f{n}", "flood", at=float(n), seconds=4000.0) for n in range(64)]
    modest = [job(f"m{n}", "modest", at=1000.0 + n, seconds=300.0) for n in range(4)]
    jobs = sorted(flood + modest, key=lambda job: job.submitted_at)
    study = Study(jobs=jobs, nodes=1, gpus_per_node=8, shares=Shares.EQUAL)
    ratios = {policy: outcome.finish_time_ratio for policy, _, outcome in study.run(list(Policy)[:2])}
    assert ratios[Policy.PRIORITY]["modest"] > 10
    assert ratios[Policy.FAIR]["modest"] < 2
    assert ratios[Policy.FAIR]["flood"] < 1.1
