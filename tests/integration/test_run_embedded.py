"""A Ray that `lockstep run` starts for itself."""

from __future__ import annotations

import psutil
import pytest

from tests.support.bits_jobs import BitsJob
from tests.support.lockstep import Lockstep, processes, steps_of, until

pytestmark = [pytest.mark.ray, pytest.mark.slow]


def test_an_embedded_ray_is_out_of_reach_and_leaves_nothing_behind(
    alone: Lockstep, long_job: BitsJob
) -> None:
    with alone.running(long_job.file, "--workers", 2) as running:
        running.wait_for(lambda log: bool(steps_of(log)), "the first step")
        ours = processes(running.mark)
        heard = [c.laddr.ip for p in ours for c in connections(p) if c.status == psutil.CONN_LISTEN]
        result = running.result()
        until(lambda: None if processes(running.mark) else True, "all processes to end", running)
    assert result.code == 0, result.err
    assert len(heard) > 5  # Ray's own, the workers', /metrics
    assert {ip.removeprefix("::ffff:") for ip in heard} == {"127.0.0.1"}


def connections(process: psutil.Process) -> list:
    try:
        return process.net_connections("tcp")
    except psutil.NoSuchProcess:
        return []
