"""Checkpoints on their way to a manifest, and how a job ends as done."""

from __future__ import annotations

import pytest

from orchestrator.gang import Ended, Outcome
from orchestrator.gang.commands import Announce, AskToSave, Commit, Form
from orchestrator.gang.events import CommitFailed, Committed, SaveNow
from orchestrator.gang.states import Forming, Training
from tests.support.gang_life import Life, formed_by, none, only, training, w
from workers.protocol import Fault

UNREACHABLE = 3


def test_a_checkpoint_is_committed_when_all_chunks_are_durable_and_then_announced():
    life = training(3, step=5, saves=True)
    assert life.saved(5, 0, 1) == []
    chunks = {0: "chunk 0", 1: "chunk 1", 2: "chunk 2"}
    assert life.saved(5, 2) == [Commit(step=5, draft={"step": 5}, chunks=chunks)]
    assert life.gang.saved_step == 5
    assert life.hear(Committed(step=5)) == [Announce(step=5, workers=(w(0), w(1), w(2)))]
    assert (life.gang.committed_step, life.gang.saves, life.gang.committing) == (5, {}, {})


def test_a_save_that_a_death_cuts_off_is_given_up_and_one_that_is_whole_is_not():
    life = training(3, step=10, saves=True)
    life.saved(5)
    life.saved(10, 0, 1)
    membership = only(life.hear(life[2].lost()), Form).membership
    assert (membership.saved_step, membership.committed_step) == (5, 0)
    assert life.gang.saves == {}
    life.formed(10)
    assert life.saved(10, 0) == []
    assert only(life.saved(10, 1), Commit).step == 10


def refuse(life: Life, exit_code: int = UNREACHABLE, passing: bool = True) -> list:
    return life.hear(CommitFailed(step=5, message="no answer", exit_code=exit_code, passing=passing))


def test_a_manifest_that_could_not_be_written_is_tried_again_ever_less_often():
    life = training(2, step=5, saves=True, retry=1.0)
    commit = only(life.saved(5), Commit)
    for waited in (1.0, 2.0, 4.0):
        assert refuse(life) == []
        assert none(life.wait(waited - 0.25), Commit)
        assert life.wait(0.5) == [commit], "the very same"
        assert life.wait(60) == [], "and not again before it is known how that went"
    assert life.hear(Committed(step=5)) == [Announce(step=5, workers=(w(0), w(1)))]
    assert isinstance(life.gang.phase, Training)


def test_training_goes_on_while_a_manifest_cannot_be_written():
    life = training(2, step=5, saves=True, save_patience=100.0)
    commit = only(life.saved(5), Commit)
    for step in (6, 7, 8):
        assert refuse(life, exit_code=2) == [], "a full disk, or a policy that somebody will mend"
        life.step(step)
        assert life.wait(31) == [commit]
    assert (life.gang.step, type(life.gang.phase)) == (8, Training)
    assert life.hear(Committed(step=5)) == [Announce(step=5, workers=(w(0), w(1)))]


def test_a_manifest_that_cannot_be_right_ends_the_job():
    life = training(2, step=5, saves=True)
    life.saved(5)
    refuse(life, exit_code=2, passing=False)
    assert life.outcome == Outcome(done=False, exit_code=2, fault=Fault.STORAGE, message="no answer", step=5)


def test_a_store_that_never_takes_a_manifest_ends_the_job():
    life = training(2, step=5, saves=True, save_patience=300.0)
    life.saved(5)
    for attempt in range(11):
        assert not isinstance(life.gang.phase, Ended), attempt
        refuse(life)
        life.wait(31)
    assert life.outcome.fault is Fault.STORAGE
    assert life.outcome.exit_code == UNREACHABLE


def test_who_wants_a_checkpoint_now_gets_one_of_a_later_step():
    life = training(2, step=7, saves=True)
    assert life.hear(SaveNow()) == [AskToSave(step=7, workers=(w(0), w(1)))]
    assert training(2, step=7).hear(SaveNow()) == [], "a job that saves nothing has nowhere to"


# --- the end ---


def test_without_checkpoints_a_job_is_done_with_its_last_worker():
    life = training(3, step=9)
    assert life.finished(9, 0, 1) == []
    assert isinstance(life.gang.phase, Training)
    assert life.finished(9, 2) == []
    assert life.outcome == Outcome(done=True)


@pytest.mark.parametrize("commit_first", [True, False])
def test_a_job_is_done_when_all_have_finished_and_everything_is_committed(commit_first):
    life = training(3, step=9, saves=True)
    life.saved(9)
    events = [lambda: life.hear(Committed(step=9)), lambda: life.finished(9)]
    for event in events if commit_first else reversed(events):
        assert not isinstance(life.gang.phase, Ended), "done while something was missing"
        event()
    assert life.outcome == Outcome(done=True)


def test_who_dies_after_it_has_finished_is_missed_only_for_what_it_had_to_leave_behind():
    life = training(3, step=9, saves=True)
    life.saved(9)
    life.hear(Committed(step=9))
    life.finished(9, 0, 1)
    life.hear(life[2].lost())
    assert life.outcome.done, "all is saved, and rank 0 told the digest"


def test_where_the_last_checkpoint_is_not_whole_the_survivors_write_it():
    life = training(3, step=9, saves=True)
    life.saved(9, 0, 1)
    life.finished(9, 0, 1)
    assert formed_by(life.hear(life[2].lost())) == (w(0), w(1))
    life.formed(9)
    life.saved(9)
    life.hear(Committed(step=9))
    life.finished(9)
    assert life.outcome.done


def test_where_the_digest_is_not_known_a_survivor_becomes_rank_0_and_tells_it():
    life = training(2, step=9)
    life.finished(9, 1)
    assert formed_by(life.hear(life[0].lost())) == (w(1),)
    assert isinstance(life.gang.phase, Forming)
    life.formed(9)
    life.finished(9)
    assert life.outcome.done


def test_a_death_while_the_last_manifest_is_being_written_loses_nothing():
    life = training(2, step=9, saves=True)
    life.saved(9)
    life.finished(9)
    assert not isinstance(life.gang.phase, Ended)
    membership = only(life.hear(life[0].lost()), Form).membership
    assert (membership.workers, membership.saved_step) == ((w(1),), 9)
    life.hear(Committed(step=9))
    life.formed(9)
    life.finished(9)
    assert life.outcome.done
