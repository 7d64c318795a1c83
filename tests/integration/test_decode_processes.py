"""A job that decodes in processes comes to the bits of threads, and leaves no process behind."""

from __future__ import annotations

import os
import select
import signal
from collections import deque

import psutil
import pytest

from orchestrator.prepare import resolve
from orchestrator.spec import load_job
from tests.support.bits_jobs import BitsJob
from workers.processes import JobFailed, launch
from workers.protocol import Evaluated, Event, Finished, Ready, StepDone, TrainJob

pytestmark = pytest.mark.slow

STEPS = 9  # the first epoch has 6


def train_job(job: BitsJob, processes: int) -> TrainJob:
    changes = [f"stop.steps={STEPS}", "checkpoint.uri=null", "checkpoint.every=null", "evaluate.every=5"]
    return resolve(load_job(job.file, [*changes, f"data.decode.processes={processes}"]), job.file)


def outcome(job: TrainJob, workers: int) -> tuple[dict, dict, str | None]:
    """Losses by step, metrics by step, and the digest."""
    losses, metrics, digest = {}, {}, None
    for event in launch(job, workers):
        if isinstance(event, StepDone):
            losses[event.step] = event.loss
        if isinstance(event, Evaluated):
            metrics[event.step] = dict(event.metrics)
        if isinstance(event, Finished):
            digest = event.state_digest or digest
    return losses, metrics, digest


def test_the_bits_are_those_of_threads(job: BitsJob) -> None:
    threads = outcome(train_job(job, 0), workers=1)
    assert len(threads[0]) == STEPS
    assert threads[2] is not None
    assert outcome(train_job(job, 2), workers=2) == threads


@pytest.mark.skipif(not hasattr(os, "pidfd_open"), reason="waits for processes that are not its children")
def test_decode_processes_end_with_their_worker(job: BitsJob) -> None:
    job.change(params={"pause": 0.1})
    alive: list[int] = []
    worker = 0

    def kill_at_first_step(event: Event) -> None:
        nonlocal worker
        if isinstance(event, Ready):
            worker = event.pid
        if isinstance(event, StepDone) and not alive:
            alive.extend(os.pidfd_open(child.pid) for child in psutil.Process(worker).children())
            os.kill(worker, signal.SIGKILL)

    with pytest.raises(JobFailed, match="signal 9"):
        deque(map(kill_at_first_step, launch(train_job(job, 2), workers=1)), maxlen=0)
    assert alive
    for process in alive:
        ended, _, _ = select.select([process], [], [], 30)
        assert ended, "a decode process outlived its worker"
        os.close(process)
