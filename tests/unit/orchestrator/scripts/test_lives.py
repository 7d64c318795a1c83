"""Any life at all: no rule of `tests.support.script_group.Life` is broken, and every job can be ended."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.gang.events import Drain, Interrupted, Pause, Resize, Resume, Stop, Tick
from orchestrator.scripts.job import Policy
from orchestrator.scripts.states import Ended, Waiting
from tests.support.script_group import Life, exited, failed, gone, up
from workers.protocol import Fault
from workers.script.protocol import Placed, Refused, Started

_wishes = st.one_of(
    st.builds(Resize, workers=st.integers(1, 5)),
    st.builds(Drain, node=st.sampled_from(["n0", "n1"]), seconds=st.floats(0, 60)),
    st.builds(Stop, seconds=st.floats(0, 60)),
    st.sampled_from([Pause(), Resume(), Interrupted()]),
)
_reports = st.sampled_from(
    [
        lambda rank, attempt: up(rank, attempt, node="n0"),
        lambda rank, attempt: up(rank, attempt, node="n0"),
        lambda rank, attempt: Started(rank=rank, attempt=attempt, time=0.0, pid=rank),
        lambda rank, attempt: exited(rank, attempt),
        lambda rank, attempt: exited(rank, attempt, signal=9),
        lambda rank, attempt: exited(rank, attempt, signal=15),
        lambda rank, attempt: failed(rank, attempt),
        lambda rank, attempt: failed(rank, attempt, error="DistNetworkError: Connection reset by peer"),
        lambda rank, attempt: gone(rank, attempt, fault=Fault.NODE),
        lambda rank, attempt: gone(rank, attempt, fault=Fault.CRASH),
        lambda rank, attempt: Refused(rank=rank, attempt=attempt, time=0.0, message="no"),
        lambda rank, attempt: Placed(attempt=attempt),
    ]
)
#: What may happen next: everybody comes up; a rank, of this attempt or an earlier one, reports; a wish; time.
_happenings = st.one_of(
    st.just("all up"),
    st.tuples(_reports, st.integers(0, 4), st.integers(0, 2)),
    _wishes,
    st.floats(0, 400),
)


def _happen(life: Life, what) -> None:
    if what == "all up":
        life.hear(*(up(rank, life.group.attempt) for rank in range(life.ranks)))
    elif isinstance(what, float):
        life.hear(Tick(), after=what)
    elif isinstance(what, tuple):
        report, rank, age = what
        attempt = life.group.attempt - age
        if attempt < life.group.attempt or (life.hired is not None and rank < life.ranks):
            life.hear(report(rank, attempt))
    else:
        life.hear(what)


@given(st.integers(1, 5), st.lists(_happenings, max_size=60))
@settings(max_examples=400, deadline=None)
def test_no_rule_is_broken_and_a_cancel_always_ends_the_job(workers, happenings):
    life = Life(workers=workers)
    for what in happenings:
        _happen(life, what)
    life.hear(Interrupted())
    for _ in range(4):  # nobody ends by itself: grace, SIGKILL, and then it is given up
        life.hear(Tick(), after=life.job.grace + Policy().killed)
    assert isinstance(life.group.phase, Ended)
    assert life.hired is None


@given(st.lists(st.tuples(_reports, st.integers(0, 2)), min_size=1, max_size=80))
@settings(max_examples=200, deadline=None)
def test_a_group_that_fails_again_and_again_without_settling_is_not_started_for_ever(failures):
    """But for lost nodes, which are nobody's fault."""
    life = Life()
    for report, rank in failures:
        if life.outcome is not None:
            break
        life.run()
        what = report(rank, life.group.attempt)
        if isinstance(what, (Placed, Started, type(up(0)))) or getattr(what, "fault", None) is Fault.NODE:
            continue
        life.hear(what)
        life.hear(*(exited(other, life.group.attempt, signal=15) for other in sorted(life.living)))
        if isinstance(life.group.phase, Waiting):
            life.hear(Tick(), after=60)
    assert life.begun <= 1 + 3 + 10 + 10 + 5  # what the budgets of these classes have in them
