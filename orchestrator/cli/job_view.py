"""A server's jobs for people: one, many, an event, a reason. From the API's JSON."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TextIO

from orchestrator.cli import format as fmt
from orchestrator.cli.columns import Column, Columns, console_for

_STYLES = {
    "queued": "yellow",
    "starting": "cyan",
    "running": "green",
    "stopping": "magenta",
    "paused": "blue",
    "done": "dim green",
    "failed": "bold red",
    "cancelled": "dim",
}
_WORKERS_MAX = 16


def print_jobs(jobs: Sequence[Mapping[str, Any]], file: TextIO | None = None) -> None:
    """A table, a line for each job."""
    console_for(file).print(jobs_table(jobs, time.time()))


def jobs_table(jobs: Sequence[Mapping[str, Any]], now: float) -> Columns:
    """Name, state, progress and what is to be said of each job."""
    from rich.text import Text

    def cells(of: Callable[[Mapping[str, Any]], object], style: str = "") -> list[Text]:
        return [Text(str(of(job)), style=style) for job in jobs]

    states = [Text(job["state"], style=_STYLES.get(job["state"], "")) for job in jobs]
    return Columns(
        [
            Column(head="job", cells=cells(lambda job: job["job"], "bold")),
            Column(head="id", cells=cells(lambda job: job["id"]), spare=4),
            Column(head="queue", cells=cells(lambda job: job["queue"]), spare=1),
            Column(head="user", cells=cells(lambda job: job["user"]), spare=2),
            Column(head="prio", cells=cells(lambda job: job["priority"]), right=True, spare=3),
            Column(head="state", cells=states),
            Column(head="workers", cells=cells(workers), right=True),
            Column(head="step", cells=cells(steps), right=True),
            Column(head="loss", cells=cells(loss), right=True),
            Column(head="age", cells=cells(lambda job: _age(job, now)), right=True),
            Column(head="", cells=cells(why), rest=True),
        ]
    )


def _age(job: Mapping[str, Any], now: float) -> str:
    return fmt.duration(max(0.0, (job["ended_at"] or now) - job["submitted_at"]))


def print_job(job: Mapping[str, Any], file: TextIO | None = None) -> None:
    """One job, with all that is known of it."""
    from rich.text import Text

    console = console_for(file)
    style = _STYLES.get(job["state"], "")
    console.print(Text.assemble((job["job"], "bold"), "  ", (job["state"], style), f"  {job['id']}"))
    for label, value in _facts(job):
        console.print(Text(f"  {label:<12}{value}"), soft_wrap=True)
    for line in explanation_lines(job) if job["explain"] else ():
        console.print(Text(f"  {line}"), soft_wrap=True)
    present = [worker for worker in job["workers"] if worker["state"] not in ("lost", "finished")]
    for worker in present[:_WORKERS_MAX]:
        ranks = fmt.ranks(worker.get("vranks") or ())
        console.print(Text(f"  {worker['id']:<12}{worker['state']}  {worker['node'] or ''}  ranks {ranks}"))
    if len(present) > _WORKERS_MAX:
        console.print(f"  and {len(present) - _WORKERS_MAX} more workers")


def _facts(job: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    yield "queue", f"{job['queue']}, priority {job['priority']}, {job['user']}'s"
    yield "submitted", clock(job["submitted_at"])
    if job["started_at"]:
        yield "started", f"{clock(job['started_at'])}, attempt {job['attempt']}"
    if job["ended_at"]:
        yield "ended", clock(job["ended_at"])
    if job["reason"]:
        yield "reason", job["reason"]
    outcome = job["outcome"] or {}
    if outcome.get("message") and outcome["message"] != job["reason"]:
        yield "failed", outcome["message"]
    yield "workers", workers(job)
    if steps(job) != "-":
        yield "step", steps(job)
    if job["loss"] is not None:
        yield "loss", loss(job)
    for name, value in job["metrics"].items():
        yield name, fmt.number(float(value)) if value is not None else "-"
    if job["checkpoint"]:
        yield "checkpoint", f"step {job['checkpoint']['step']} in {job['checkpoint']['uri']}"
    if job["state_digest"]:
        yield "digest", job["state_digest"]


def workers(job: Mapping[str, Any]) -> str:
    """`3 of 2-4`: how many there are, and how many there may be."""
    least, most = job["min_workers"], job["max_workers"]
    limits = f"{least}" if least == most else f"{least}-{most}"
    present = sum(worker["state"] not in ("lost", "finished", "failed") for worker in job["workers"])
    return f"{present} of {limits}" if job["state"] in ("starting", "running", "stopping") else limits


def steps(job: Mapping[str, Any]) -> str:
    """`120/300`."""
    if not job["step"] and not job["steps"]:
        return "-"
    return f"{job['step']}/{job['steps']}" if job["steps"] else f"{job['step']}"


def loss(job: Mapping[str, Any]) -> str:
    """The last step's."""
    return fmt.number(float(job["loss"])) if job["loss"] is not None else "-"


def why(job: Mapping[str, Any]) -> str:
    """Why it waits, or why it is in its state."""
    if job["explain"]:
        return str(job["explain"]["sentence"])
    return _one_line(job["reason"]) if job["state"] not in ("running", "done") else ""


def explanation_lines(job: Mapping[str, Any]) -> Iterator[str]:
    """Why a job waits, what would have to change, and when it starts."""
    reason = job["explain"]
    if reason is None:
        yield f"{job['job']} is {job['state']}" + (f": {job['reason']}" if job["reason"] else "")
        return
    yield f"{job['job']} waits: {reason['sentence']} ({reason['code']})"
    if reason["remedy"]:
        yield f"what would have to change: {reason['remedy']}"
    if reason["eta"] is not None:
        yield f"starts at {clock(reason['eta'])}, if all estimates are right"


def event_line(event: Mapping[str, Any]) -> str:
    """`14:05:12 step 50: w1 lost: the process died`."""
    moved = f"{event['before'] or 'new'} → {event['after']}" if event["after"] else event["kind"]
    step = f"step {event['step']}" if event["step"] is not None else ""
    subject = f"{event['worker']} {moved}" if event["worker"] else moved
    who = f"({event['who']})" if event["who"] else ""
    reason = _one_line(event["reason"] or event["cause"] or "")
    parts = ": ".join(part for part in (step, subject, reason) if part)
    return f"{time.strftime('%H:%M:%S', time.localtime(event['time']))} {parts} {who}".rstrip()


def _one_line(text: str) -> str:
    return " ".join(text.split())


def clock(seconds: float) -> str:
    """Local date and time."""
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(seconds))
