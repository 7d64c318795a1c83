"""Who makes no progress: found by the job's own step times, and by who waits for whom."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from statistics import median

from orchestrator.exit_codes import FAILED
from orchestrator.gang.commands import Dismiss
from orchestrator.gang.forming import Step
from orchestrator.gang.losses import remove
from orchestrator.gang.states import Gang, Member, Outcome, Stage
from workers.protocol import Activity, Beat, Fault

_STEPS_KNOWN = 5
_TIMES = 5.0  # so many times the usual is suspicious


def beat(gang: Gang, event: Beat, now: float) -> Step:
    """A worker is alive, and doing something."""
    if event.worker not in gang.crew:
        return gang, ()
    pulse = event.pulse
    return gang.having(event.worker, heard=now, activity=pulse.activity, since=now - pulse.seconds), ()


def wake(gang: Gang, now: float) -> Gang:
    """After the supervisor itself was not running for a while, nobody is late by that while."""
    slept = now - gang.ticked
    if slept <= gang.policy.asleep:
        return replace(gang, ticked=now)
    crew = {
        id: replace(m, heard=m.heard + slept if m.heard is not None else None) for id, m in gang.crew.items()
    }
    return replace(gang, ticked=now, crew=crew, progress_at=gang.progress_at + slept)


def find_hanging(gang: Gang, now: float) -> Step:
    """End workers that keep the others waiting; their virtual ranks go to those."""
    patience = _patience(gang)
    if now - gang.progress_at <= patience:
        return gang, ()
    members = [m for m in gang.members if m.stage in (Stage.FORMING, Stage.TRAINING)]
    silent = [m for m in members if _silence(m, now) > max(gang.policy.hang, patience / _TIMES)]
    if len(silent) == len(gang.members) and now - gang.progress_at <= gang.policy.alone:
        return gang, ()
    why = {m.id: f"not a sign of life for {_silence(m, now):.1f} s" for m in silent}
    for member in members:
        limit = _limit(gang, member.activity)
        if member not in silent and limit is not None and now - member.since > limit:
            why[member.id] = f"{member.activity} without an end for {now - member.since:.1f} s"
    if not why:
        return gang, ()
    return _end_hanging(gang, why, now)


def find_stuck_starts(gang: Gang, now: float) -> Step:
    """End workers that froze before they were ready."""
    why = {
        m.id: f"not a sign of life for {_silence(m, now):.1f} s while starting"
        for m in gang.crew.values()
        if m.stage is Stage.STARTING and _silence(m, now) > gang.policy.starting
    }
    return _end_hanging(gang, why, now) if why else (gang, ())


def _end_hanging(gang: Gang, why: Mapping[str, str], now: float) -> Step:
    losses = [(worker, _hung(gang, worker, text)) for worker, text in why.items()]
    dismissals = tuple(Dismiss(worker=worker, why=text, stacks=True) for worker, text in why.items())
    after, commands = remove(gang, losses, now)
    return after, (*commands, *dismissals)


def _silence(member: Member, now: float) -> float:
    """Seconds since a worker was heard of; none for one that never was: it may wait for its place."""
    return 0.0 if member.heard is None else now - member.heard


def _patience(gang: Gang) -> float:
    """How long a job without progress is none of our business. Doubles when it was too short last time."""
    known = len(gang.step_seconds) >= _STEPS_KNOWN
    usual = _TIMES * median(gang.step_seconds) if known else 0.0
    return float(max(gang.policy.hang, usual) * 2 ** gang.trouble.counts.get(Fault.HANG, 0))


def _limit(gang: Gang, activity: Activity) -> float | None:
    """How long a worker may be in one activity; None where others have deadlines of their own."""
    patience = _patience(gang)
    if activity is Activity.PRODUCTIVE:
        known = len(gang.step_seconds) >= _STEPS_KNOWN
        return patience if known else max(patience, gang.policy.first_steps)
    if activity is Activity.EVALUATION:
        return max(patience, gang.policy.evaluation, _TIMES * gang.evaluation_seconds)
    return None


def _hung(gang: Gang, worker: str, why: str) -> Outcome:
    return Outcome(
        done=False, exit_code=FAILED, fault=Fault.HANG, message=why, worker=worker, step=gang.step + 1
    )
