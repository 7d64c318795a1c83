"""Commands for a job that runs: resize, drain, pause, resume, save, cancel, status, events."""

from __future__ import annotations

import json
import sys
from typing import Annotated

import typer

Job = Annotated[str, typer.Argument(metavar="JOB", help="The job's name.")]
On = Annotated[
    str | None,
    typer.Option(
        "--cluster", help="auto or HOST:PORT; by default where `lockstep run` runs it on this machine."
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON on stdout.")]


def resize(
    job: Job,
    workers: Annotated[int, typer.Argument(help="How many workers it should have.")],
    cluster: On = None,
    as_json: AsJson = False,
) -> None:
    """Give a running job more or fewer workers; the others go on, and the result stays the same."""
    from orchestrator.control import reach
    from orchestrator.gang.events import Resize

    with reach(job, cluster) as running:
        running.wish(Resize(workers=workers))
    _say(as_json, job, f"{workers} workers wanted", workers=workers)


def drain(
    job: Job,
    node: Annotated[str, typer.Argument(metavar="NODE", help="Its name, or how its id begins.")],
    within: Annotated[float, typer.Option(help="Seconds until its workers must be gone.")] = 60.0,
    cluster: On = None,
    as_json: AsJson = False,
) -> None:
    """Move a running job's workers away from a node."""
    from orchestrator.control import reach

    with reach(job, cluster) as running:
        running.drain(node, within)
    _say(as_json, job, f"{node} is drained within {within:g} s", node=node, seconds=within)


def pause(job: Job, cluster: On = None, as_json: AsJson = False) -> None:
    """Let a running job stand still at its next step, with its state in memory and saved."""
    from orchestrator.control import reach
    from orchestrator.gang.events import Pause

    with reach(job, cluster) as running:
        running.wish(Pause())
    _say(as_json, job, "pauses at its next step")


def resume(job: Job, cluster: On = None, as_json: AsJson = False) -> None:
    """Let a paused job go on."""
    from orchestrator.control import reach
    from orchestrator.gang.events import Resume

    with reach(job, cluster) as running:
        running.wish(Resume())
    _say(as_json, job, "goes on")


def save(job: Job, cluster: On = None, as_json: AsJson = False) -> None:
    """Let a running job make a checkpoint at its next step, and go on."""
    from orchestrator.control import reach
    from orchestrator.gang.events import SaveNow

    with reach(job, cluster) as running:
        running.wish(SaveNow())
    _say(as_json, job, "saves at its next step")


def cancel(job: Job, cluster: On = None, as_json: AsJson = False) -> None:
    """End a running job; its last checkpoint stays."""
    from orchestrator.control import reach
    from orchestrator.gang.events import Interrupted

    with reach(job, cluster) as running:
        running.wish(Interrupted())
    _say(as_json, job, "is being ended")


def status(job: Job, cluster: On = None, as_json: AsJson = False) -> None:
    """What a running job is doing."""
    from orchestrator.control import reach

    with reach(job, cluster) as running:
        view = running.view()
    if as_json:
        print(json.dumps(view.to_json(), ensure_ascii=False, allow_nan=False))
        return
    from orchestrator.cli.report import print_report

    print_report(view, sys.stdout)


def events(
    job: Job,
    cluster: On = None,
    story: Annotated[
        bool, typer.Option("--story", help="The transitions of its life instead, for whoever debugs it.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """What has happened to a running job, a line each; steps are left out."""
    from orchestrator.cli.console import sentence
    from orchestrator.control import reach
    from orchestrator.records.steplog import EventEntry

    with reach(job, cluster) as running:
        lines = running.story() if story else []
        history = () if story else running.history()
    for line in lines:
        print(json.dumps(line) if as_json else line)
    for entry in history:
        if isinstance(entry, EventEntry):
            print(json.dumps(entry.to_json(), ensure_ascii=False) if as_json else sentence(entry))


def _say(as_json: bool, job: str, what: str, **facts: object) -> None:
    print(json.dumps({"job": job, **facts}) if as_json else f"{job}: {what}")
