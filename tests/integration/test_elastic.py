"""Workers come and go in the middle of a job; the others go on, and the result is the same, bit for bit."""

from __future__ import annotations

import json
import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.support.bits_jobs import BitsJob
from tests.support.elastic_jobs import (
    LOOPING,
    PAUSE,
    POISONED,
    STEPS,
    assert_same,
    elastic,
    kill,
    members,
    running_elastic,
    step,
    told,
)
from tests.support.lockstep import Lockstep, Result, read_log, until

pytestmark = [pytest.mark.ray, pytest.mark.slow]


@pytest.fixture
def slow_job(job: BitsJob) -> BitsJob:
    return elastic(job)


def restored(result: Result) -> list[dict]:
    return [entry for entry in result.events("formed") if entry["cause"] == "restored"]


def test_survivors_go_on_without_the_dead_and_nobody_reads_a_checkpoint(
    lockstep: Lockstep, slow_job: BitsJob, calm: Result
) -> None:
    with running_elastic(lockstep, slow_job, 4) as running:
        running.wait_for(step(40), "step 40")
        dead = kill(running, 0)
        running.wait_for(told("worker_lost"), "the loss")
        running.wait_for(step(80), "step 80")
        dead += kill(running, 0, 1)
        running.wait_for(told("formed", cause="healed"), "a replacement")
        result = running.result()
    assert_same(result, calm)
    assert sorted(e["worker"] for e in result.events("worker_lost")) == sorted(dead)
    assert restored(result) == []
    assert result.json["redone_steps"] <= len(dead), "each broke off one step at most"


def test_who_stands_by_takes_the_place_of_the_dead(
    lockstep: Lockstep, slow_job: BitsJob, calm: Result
) -> None:
    elastic(slow_job, pause=4 * PAUSE)  # a standby is started once the job has been quiet a while
    with running_elastic(lockstep, slow_job, 3) as running:
        running.wait_for(told("stands_by"), "a standby")
        dead = kill(running, 1)
        running.wait_for(told("formed", cause="healed"), "a replacement")
        result = running.result()
    assert_same(result, calm)
    (stood_by,) = [event["reason"].split()[1] for event in result.events("stands_by")][:1]
    *_, ready = result.events("ready")
    assert "which stood by" in ready["reason"]
    assert ready["reason"].split()[1] == stood_by, "the same process"
    assert ready["worker"] not in dead
    assert restored(result) == []


def test_when_all_are_lost_the_job_goes_on_from_its_newest_checkpoint(
    lockstep: Lockstep, slow_job: BitsJob, calm: Result
) -> None:
    with running_elastic(lockstep, slow_job, 3) as running:
        running.wait_for(step(80), "step 80")
        kill(running, 0, 1, 2)
        result = running.result()
    assert_same(result, calm)
    assert restored(result)[0]["step"] >= 70
    assert any("no worker is left that holds the state" in e["reason"] for e in result.events("note"))


def test_a_running_job_is_resized_paused_and_resumed(
    lockstep: Lockstep, slow_job: BitsJob, calm: Result
) -> None:
    on = lockstep.cluster
    elastic(slow_job, pause=10 * PAUSE)  # so that five commands, one after another, find it at work
    with running_elastic(lockstep, slow_job, 1) as running:
        running.wait_for(step(10), "step 10")
        assert running.command("resize", "bits", 3, *on).returncode == 0
        running.wait_for(told("formed", 2, cause="healed"), "two more workers")
        assert running.command("resize", "bits", 2, *on).returncode == 0
        running.wait_for(told("dismissed"), "one less")
        assert running.command("pause", "bits", *on).returncode == 0
        running.wait_for(told("hold", cause="pause"), "the pause")
        refused = running.command("resize", "bits", 9, *on)
        assert running.command("resume", "bits", *on).returncode == 0
        result = running.result()
    assert_same(result, calm)
    assert refused.returncode == 2
    assert "9 workers cannot share 8 virtual ranks" in refused.stderr
    assert len([w for w in result.json["workers"] if w["state"] == "finished"]) == 2


def test_a_frozen_worker_is_found_and_its_stacks_are_kept(
    lockstep: Lockstep, slow_job: BitsJob, calm: Result
) -> None:
    with running_elastic(lockstep, slow_job, 3) as running:
        running.wait_for(step(40), "step 40")
        (frozen,) = kill(running, 1, number=signal.SIGSTOP)
        running.wait_for(told("stacks"), "its stacks")
        result = running.result()
    assert_same(result, calm)
    (lost,) = result.events("worker_lost")
    assert (lost["worker"], lost["cause"]) == (frozen, "hang")
    (stacks,) = result.events("stacks")
    assert "most recent call first" in stacks["reason"]


def test_a_worker_that_loops_in_the_recipe_is_found_by_what_it_does(
    lockstep: Lockstep, job: BitsJob, calm: Result, tmp_path
) -> None:
    flag = tmp_path / "flag"
    job.recipe.write_text(job.recipe.read_text() + LOOPING)
    job.change(recipe="recipe:Looping")
    elastic(job, flag=str(flag))
    with running_elastic(lockstep, job, 3) as running:
        running.wait_for(step(40), "step 40")
        there = members(read_log(running.log))
        looping = sorted(there)[1]
        flag.write_text(str(there[looping]))
        running.wait_for(told("stacks"), "its stacks")
        result = running.result()
    assert_same(result, calm)
    (lost,) = result.events("worker_lost")
    assert (lost["worker"], lost["cause"]) == (looping, "hang")
    assert "in loss" in result.events("stacks")[0]["reason"]


def test_a_worker_that_is_slower_than_the_others_gets_fewer_virtual_ranks(
    lockstep: Lockstep, slow_job: BitsJob, calm: Result
) -> None:
    def balanced() -> dict[str, int] | None:
        """The loads, once the slow one has the least; a busy machine slows the others, too, for a while."""
        status = json.loads(running.command("status", "bits", "--json", *lockstep.cluster).stdout)
        loads = {worker["id"]: len(worker["vranks"]) for worker in status["workers"]}
        return loads if loads["worker-0"] < min(loads["worker-1"], loads["worker-2"]) else None

    with running_elastic(lockstep, slow_job, 3) as running:
        running.wait_for(step(20), "step 20")
        with throttled(members(read_log(running.log))["worker-0"]):
            running.wait_for(told("hold", cause="balance"), "a new balance")
            running.wait_for(told("formed", 2), "it to be made")
            loads = until(balanced, "the slow one to have the least", running)
        result = running.result()
    assert_same(result, calm)
    assert sum(loads.values()) == 8


@contextmanager
def throttled(pid: int) -> Iterator[None]:
    """A process that is stopped for most of the time."""
    over = threading.Event()

    def throttle() -> None:
        while not over.is_set():
            os.kill(pid, signal.SIGSTOP)
            over.wait(0.07)
            os.kill(pid, signal.SIGCONT)
            over.wait(0.03)

    thread = threading.Thread(target=throttle)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def test_a_step_that_kills_whoever_computes_it_ends_the_job_with_its_story(
    lockstep: Lockstep, job: BitsJob
) -> None:
    job.recipe.write_text(job.recipe.read_text() + POISONED)
    job.change(recipe="recipe:Poisoned")
    elastic(job)
    with running_elastic(lockstep, job, 4) as running:
        result = running.result()
    assert result.code == 1
    assert result.json["failure"]["fault"] == "poison"
    assert "kills whoever computes it: worker-" in result.err
    lost = result.events("worker_lost")
    assert len(lost) >= 3
    assert all("Segmentation fault, in string_at" in entry["reason"] for entry in lost)
    stacks = result.events("stacks")
    assert all("in loss" in entry["reason"] for entry in stacks)
    # The job ends with the last death that its verdict takes; one more may still have spoken.
    assert {entry["worker"] for entry in lost} <= {entry["worker"] for entry in stacks}


def test_a_supervisor_that_dies_comes_back_and_finds_its_workers(
    alone: Lockstep, slow_job: BitsJob, calm: Result
) -> None:
    with running_elastic(alone, slow_job, 3) as running:
        running.wait_for(step(40), "step 40")
        running.named("JobActor")[0].kill()
        running.wait_for(told("note"), "the new one")
        running.wait_for(step(150), "step 150")
        running.named("JobActor")[0].kill()
        kill(running, 1)
        result = running.result()
    assert_same(result, calm)
    assert restored(result) == []
    assert "found 3 of its workers" in result.events("note")[0]["reason"]


def test_a_job_outlives_the_command_that_started_it_and_is_followed_again(
    lockstep: Lockstep, slow_job: BitsJob, calm: Result
) -> None:
    with running_elastic(lockstep, slow_job, 2) as running:
        before = running.wait_for(step(40), "step 40")
        running.process.kill()
        running.process.wait()
        here = lockstep.with_environment({"LOCKSTEP_NAMESPACE": running.mark})
        other = here.run(slow_job.file, "--workers", 2, "--fresh")
        assert other.code == 2
        assert "the job runs on this cluster already" in other.err
        with here.running(slow_job.file, "--resume") as again:
            again.wait_for(step(40), "what was told before")
            running.hurry.touch()
            result = again.result()
    assert_same(result, calm)
    assert members(result.log).items() >= members(before).items()
    assert max(result.steps) == STEPS
