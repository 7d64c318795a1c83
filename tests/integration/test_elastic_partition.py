"""Two hosts, and a network between them that goes silent: the side with the supervisor goes on."""

from __future__ import annotations

import pytest

from tests.support import lockstep as support
from tests.support.bits_jobs import BitsJob
from tests.support.elastic_jobs import assert_same, elastic, running_elastic, step, told
from tests.support.lockstep import Lockstep, Result
from tests.support.partition import two_hosts, why_not

pytestmark = [
    pytest.mark.ray,
    pytest.mark.slow,
    pytest.mark.skipif(why_not() is not None, reason=str(why_not())),
]


def test_workers_beyond_a_silent_network_are_given_up_and_the_others_go_on(
    job: BitsJob, calm: Result, tmp_path, monkeypatch
) -> None:
    with two_hosts(cpus=2) as hosts:
        monkeypatch.setattr(support, "PREFIX", ("ip", "netns", "exec", hosts.names[0]))
        there = Lockstep(folder=tmp_path, environment=hosts.environment, cluster=("--cluster", hosts.address))
        with running_elastic(there, elastic(job), 3) as running:
            running.wait_for(step(40), "step 40")
            hosts.cut()
            running.wait_for(told("worker_lost"), "the loss")
            running.wait_for(step(120), "step 120")
            result = running.result()
    assert_same(result, calm)
    lost = result.events("worker_lost")
    assert {entry["cause"] for entry in lost} == {"hang"}
    assert all("not a sign of life" in entry["reason"] for entry in lost)
    assert [entry for entry in result.events("formed") if entry["cause"] == "restored"] == []
