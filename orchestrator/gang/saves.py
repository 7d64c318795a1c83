"""A checkpoint's way from chunks that are durable on all workers to a manifest that everybody knows of."""

from __future__ import annotations

from dataclasses import replace

from orchestrator.gang.commands import Announce, AskToSave, Commit
from orchestrator.gang.ending import end, end_if_over
from orchestrator.gang.events import CommitFailed, Committed, SaveNow
from orchestrator.gang.forming import Step
from orchestrator.gang.states import Gang, Outcome, Recalling, Saving
from orchestrator.gang.trouble import backoff
from workers.protocol import Saved


def saved(gang: Gang, event: Saved, now: float) -> Step:
    """A member's chunks are durable; when those of all are, the manifest can be written."""
    if event.generation != gang.generation or not gang.is_member(event.worker):
        return gang, ()  # the generation broke in the middle of it: it is saved anew, or given up
    gang = replace(gang, progress_at=now)
    reports = {**gang.saves.get(event.step, {}), event.worker: event}
    if gang.membership is None or len(reports) < len(gang.membership.workers):
        return replace(gang, saves={**gang.saves, event.step: reports}), ()
    saves = {step: reports for step, reports in gang.saves.items() if step != event.step}
    draft = next(report.draft for report in reports.values() if report.draft is not None)
    chunks = {number: record for report in reports.values() for number, record in report.chunks.items()}
    command = Commit(step=event.step, draft=draft, chunks=chunks)
    committing = {**gang.committing, event.step: Saving(command=command)}
    return replace(gang, saves=saves, committing=committing), (command,)


def committed(gang: Gang, event: Committed, now: float) -> Step:
    """The manifest is durable."""
    committing = {step: saving for step, saving in gang.committing.items() if step != event.step}
    newest = max(gang.committed_step, event.step)
    after = replace(gang, committing=committing, committed_step=newest, resume_step=newest)
    over, commands = end_if_over(after)
    announce = Announce(step=event.step, workers=tuple(member.id for member in gang.members))
    return over, (announce, *commands)


def commit_failed(gang: Gang, event: CommitFailed, now: float) -> Step:
    """The manifest could not be written. Later it may be, and training goes on as long as that is likely."""
    saving = gang.committing.get(event.step)
    if saving is None:
        return gang, ()  # all were lost meanwhile, and what was found then is gone on from
    since = saving.failing_since if saving.failures else now
    if not event.passing or now - since > gang.policy.save_patience:
        outcome = Outcome(
            done=False, exit_code=event.exit_code, fault=event.fault, message=event.message, step=event.step
        )
        return end(gang, outcome)
    failures = saving.failures + 1
    saving = replace(saving, failures=failures, failing_since=since, retry_at=now + backoff(gang, failures))
    return replace(gang, committing={**gang.committing, event.step: saving}), ()


def save_now(gang: Gang, event: SaveNow, now: float) -> Step:
    """Somebody wants a checkpoint. While nobody trains there is nothing later than what there is."""
    if not gang.policy.saves or not gang.members:
        return gang, ()
    return gang, (AskToSave(step=gang.step, workers=tuple(member.id for member in gang.members)),)


def retry_commits(gang: Gang, now: float) -> Step:
    """Manifests whose time to be tried again has come."""
    due = [s for s in gang.committing.values() if s.retry_at is not None and s.retry_at <= now]
    if not due or isinstance(gang.phase, Recalling):  # what is found then, is gone on from
        return gang, ()
    again = {saving.command.step: replace(saving, retry_at=None) for saving in due}
    return replace(gang, committing={**gang.committing, **again}), tuple(s.command for s in due)
