"""The whole process tree is killed in mid-epoch; the job goes on with another number of workers."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from tests.support.bits_jobs import STEPS_PER_EPOCH, BitsJob
from tests.support.lockstep import Lockstep, Result, processes, read_log, steps_of

pytestmark = [pytest.mark.ray, pytest.mark.slow]

KILL_AT = 80  # after the checkpoints of steps 35 and 70


@dataclass(frozen=True, kw_only=True)
class Story:
    """What was logged up to the kill, and how the second run ended."""

    job: BitsJob
    before: dict
    after: Result
    left: list

    @property
    def resumed_from(self) -> int:
        return next(e["step"] for e in self.after.events("formed") if e["cause"] == "restored")


@pytest.fixture(scope="module")
def story(bits, alone: Lockstep, lockstep: Lockstep, undisturbed, tmp_path_factory) -> Story:
    job = undisturbed.job.copy(tmp_path_factory.mktemp("killed") / "job")
    with alone.running(job.file, "--workers", 3) as running:
        running.wait_for(lambda log: max(steps_of(log), default=0) >= KILL_AT, f"step {KILL_AT}")
        running.kill_everything()
    left, before = processes(running.mark), steps_of(read_log(running.log))
    after = lockstep.run(job.file, "--workers", 2, "--resume")
    assert after.code == 0, after.err
    return Story(job=job, before=before, after=after, left=left)


def test_the_job_was_really_killed_on_its_way(story: Story, undisturbed) -> None:
    assert story.left == []
    assert KILL_AT <= max(story.before) < max(undisturbed.result.steps)


def test_it_goes_on_from_the_middle_of_an_epoch(story: Story) -> None:
    assert 0 < story.resumed_from < max(story.before)
    assert story.resumed_from % STEPS_PER_EPOCH
    assert min(story.after.steps) == story.resumed_from + 1


def test_the_state_in_the_end_is_that_of_an_undisturbed_run(story: Story, undisturbed) -> None:
    assert story.after.json["state_digest"] == undisturbed.result.json["state_digest"]
    assert story.job.committed() == undisturbed.job.committed()


def test_every_step_is_logged_with_the_numbers_of_an_undisturbed_run(story: Story, undisturbed) -> None:
    expected = undisturbed.result.steps
    assert story.before.items() <= expected.items()
    assert story.after.steps.items() <= expected.items()
    assert story.before.keys() | story.after.steps.keys() == expected.keys()
    assert story.before.keys() & story.after.steps.keys()
