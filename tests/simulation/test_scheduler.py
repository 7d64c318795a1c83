"""A hundred thousand cycles of the scheduler in small clusters, with everything checked after each."""

from __future__ import annotations

import pytest

from orchestrator.scheduler import plan
from tests.support.scheduling import POLICIES
from tests.support.scheduling_lives import live

CYCLES = 100_000


@pytest.mark.slow
@pytest.mark.parametrize("policy", POLICIES)
def test_in_many_lives_nothing_is_given_out_twice_gangs_are_whole_and_all_jobs_end(policy):
    cycles = seed = 0
    while cycles < CYCLES / len(POLICIES):
        cluster = live(policy, seed)
        for life in cluster.lives.values():
            if life.done_at is None:  # nothing but a cluster that is too small for it may keep a job waiting
                reason = plan(cluster.snapshot(), cluster.config).explain[life.job.id]
                assert reason.code in ("no_such_node", "too_large"), f"seed {seed}: {reason}"
        cycles += cluster.plans
        seed += 1
