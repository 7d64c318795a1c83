"""What must be true of a scenario, however it went."""

from __future__ import annotations

from tests.service.scenario import LIMITS, URGENT, Result

#: Reasons that a job of this scenario may have to wait.
_REASONS = {
    *("no_room", "behind", "would_delay", "promised", "making_room", "protected"),
    *("queue_limit", "start_failed"),
}


def check(result: Result, digest: str) -> None:
    """All are done with the digest of an undisturbed run, and everything was as it should be on the way."""
    assert set(result.states.values()) == {"done"}, result.states
    assert set(result.digests.values()) == {digest}, result.digests
    for queue, limit in LIMITS.items():
        assert result.most.get(queue, 0) <= limit, (queue, result.most)
    for job, codes in result.seen.items():
        assert codes <= _REASONS, (job, codes)
    _check_priority(result)
    _check_starts(result)


def _check_priority(result: Result) -> None:
    """Those that gave way to the urgent job are of lower priority, gave loans back first, and went on
    later."""
    urgent = result.events[URGENT]
    assert [e["after"] for e in urgent if e["kind"] == "state"] == ["starting", "running", "done"]
    gave_way = 0
    for name, events in result.events.items():
        states = [(e["after"], e["cause"]) for e in events if e["kind"] == "state"]
        stopped = sum(cause == "preempt" for _, cause in states)
        loans = sum(e["kind"] == "resize" and e["cause"] == "loan" for e in events)
        gave_way += stopped + loans
        assert not (name == URGENT and stopped), "it is nobody's victim"
        assert sum(after == "starting" for after, _ in states) >= 1 + stopped, (name, states)
    assert gave_way, "nobody made room"


def _check_starts(result: Result) -> None:
    """Each attempt was started once: its supervisor told of one beginning."""
    for name, events in result.events.items():
        starts = sum(e["kind"] == "state" and e["after"] == "starting" for e in events)
        supervisors = {e["supervisor"] for e in events if "supervisor" in e}
        assert len(supervisors) <= starts, (name, starts, supervisors)
