"""What becomes of a job when somebody wants or tells something."""

from __future__ import annotations

import pytest

from orchestrator.gang import Outcome
from orchestrator.records.facts import JobState
from orchestrator.service.executor import Missing, NotStarted, Over, Seen
from orchestrator.service.settle import heard, wished
from orchestrator.store.states import HOLDING, LEGAL, Intent
from tests.unit.orchestrator.service.test_observe import record
from workers.protocol import Fault

S = JobState
STOPPED = Outcome(done=False, stopped=True, exit_code=130, message="stopped after step 5", step=5)
FAILED = Outcome(done=False, exit_code=1, fault=Fault.USER, message="it raised")
REPORTS = [
    Seen(job="j0", attempt=1, running=True, view={}, held={}, heeded=0),
    Over(job="j0", attempt=1, outcome=Outcome(done=True), view={}),
    Over(job="j0", attempt=1, outcome=STOPPED, view={}),
    Over(job="j0", attempt=1, outcome=FAILED, view={}),
    Missing(job="j0", attempt=1, why="it is gone"),
    NotStarted(job="j0", attempt=1, message="no data", exit_code=2, passing=False),
    NotStarted(job="j0", attempt=1, message="no answer", exit_code=3, passing=True),
]


@pytest.mark.parametrize(
    ("state", "intent", "after"),
    [
        (S.QUEUED, Intent.CANCEL, S.CANCELLED),
        (S.PAUSED, Intent.CANCEL, S.CANCELLED),
        (S.RUNNING, Intent.CANCEL, S.STOPPING),
        (S.STARTING, Intent.CANCEL, S.STOPPING),
        (S.STOPPING, Intent.CANCEL, None),
        (S.QUEUED, Intent.PAUSE, S.PAUSED),
        (S.RUNNING, Intent.PAUSE, S.STOPPING),
        (S.PAUSED, Intent.PAUSE, None),
        (S.PAUSED, Intent.RUN, S.QUEUED),
        (S.RUNNING, Intent.RUN, None),
    ],
)
def test_what_an_owner_wants_is_done_at_once_where_it_can_be(state, intent, after):
    found = wished(record(state=state, intent=intent))
    assert (found.after if found else None) is after


@pytest.mark.parametrize(
    ("intent", "after"),
    [(Intent.RUN, S.QUEUED), (Intent.PAUSE, S.PAUSED), (Intent.CANCEL, S.CANCELLED)],
)
@pytest.mark.parametrize("report", [REPORTS[2], REPORTS[4]], ids=["stopped", "missing"])
def test_one_that_has_stopped_is_what_its_owner_wants_and_can_go_on(intent, after, report):
    found = heard(record(state=S.STOPPING, attempt=1, intent=intent), report)
    assert found is not None
    assert found.after is after
    assert found.resumes or after is S.CANCELLED


def test_a_supervisor_that_is_gone_for_good_sends_its_job_back_to_the_queue():
    found = heard(record(state=S.RUNNING, attempt=1), REPORTS[4])
    assert found is not None
    assert (found.after, found.cause, found.resumes) == (S.QUEUED, "lost", True)


def test_a_failure_is_told_as_its_owner_has_to_know_it():
    found = heard(record(state=S.RUNNING, attempt=1), REPORTS[3])
    assert found is not None
    assert (found.after, found.reason) == (S.FAILED, "it raised")
    assert found.outcome is not None
    assert (found.outcome["exit_code"], found.outcome["fault"]) == (1, "user")


@pytest.mark.parametrize("report", REPORTS, ids=lambda report: type(report).__name__)
@pytest.mark.parametrize("attempt", [1, 2])
@pytest.mark.parametrize("intent", Intent)
@pytest.mark.parametrize("state", JobState)
def test_whatever_is_heard_every_move_is_legal_and_about_this_attempt(state, intent, attempt, report):
    found = heard(record(state=state, intent=intent, attempt=attempt), report)
    if found is None:
        return
    assert attempt == 1
    assert state in HOLDING
    assert found.after in LEGAL[state]


@pytest.mark.parametrize("intent", Intent)
@pytest.mark.parametrize("state", JobState)
def test_whatever_is_wanted_every_move_is_legal(state, intent):
    found = wished(record(state=state, intent=intent))
    assert found is None or found.after in LEGAL[state]
