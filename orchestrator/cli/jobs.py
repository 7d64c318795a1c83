"""Commands for one job: status, events, resize, drain, pause, resume, save, cancel.

They find a job that `lockstep run` runs on this machine, else ask the server; with --cluster they ask Ray.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable
from typing import TYPE_CHECKING, Annotated, Any

import typer

from orchestrator.cli.options import AsJson, Follow, Job, On, Server, on_server, print_json

if TYPE_CHECKING:
    from orchestrator.gang.events import Wish


def resize(
    job: Job,
    workers: Annotated[int | None, typer.Argument(help="How many workers it should have.")] = None,
    least: Annotated[
        int | None, typer.Option("--min", help="On a server: as many as there is room for, from here ...")
    ] = None,
    most: Annotated[int | None, typer.Option("--max", help="... to here.")] = None,
    cluster: On = None,
    server: Server = None,
    as_json: AsJson = False,
) -> None:
    """Give a job more or fewer workers; the others go on, and the result stays the same."""
    from orchestrator.gang.events import Resize
    from workers.errors import InputError

    limits = {"min_workers": least, "max_workers": most}
    given = {name: value for name, value in limits.items() if value is not None}
    if (workers is None) == (not given):
        raise InputError(
            "not one size", where="resize", fix="give WORKERS, or --min and --max or one of them"
        )
    with on_server(job, cluster, server) as there:
        if there is not None:
            there.resize(workers, **given)
        elif workers is None:
            fix = "give WORKERS: only a server's jobs have limits"
            raise InputError("this job runs without a server", where=job, fix=fix)
        else:
            _wish(job, cluster, Resize(workers=workers))
    if workers is not None:
        given = {"workers": workers}
    wanted = f"{workers} workers" if workers is not None else f"{least or ''} to {most or ''} workers"
    _say(as_json, job, f"{wanted} wanted", **given)


def drain(
    job: Job,
    node: Annotated[str, typer.Argument(metavar="NODE", help="Its name, or how its id begins.")],
    within: Annotated[float, typer.Option(help="Seconds until its workers must be gone.")] = 60.0,
    cluster: On = None,
    server: Server = None,
    as_json: AsJson = False,
) -> None:
    """Move a running job's workers away from a node, without a server; see `lockstep node drain`."""
    from orchestrator.control import reach
    from workers.errors import InputError

    with on_server(job, cluster, server) as there:
        if there is not None:
            fix = f"drain it for all of them: lockstep node drain {node}"
            raise InputError("a server's nodes belong to all its jobs", where=job, fix=fix)
    with reach(job, cluster) as running:
        running.drain(node, within)
    _say(as_json, job, f"{node} is drained within {within:g} s", node=node, seconds=within)


def pause(job: Job, cluster: On = None, server: Server = None, as_json: AsJson = False) -> None:
    """Let a job save and stand still; on a server it gives its room back."""
    from orchestrator.gang.events import Pause

    with on_server(job, cluster, server) as there:
        there.pause() if there is not None else _wish(job, cluster, Pause())
    _say(as_json, job, "pauses at its next step")


def resume(job: Job, cluster: On = None, server: Server = None, as_json: AsJson = False) -> None:
    """Let a paused job go on."""
    from orchestrator.gang.events import Resume

    with on_server(job, cluster, server) as there:
        there.resume() if there is not None else _wish(job, cluster, Resume())
    _say(as_json, job, "goes on")


def save(job: Job, cluster: On = None, server: Server = None, as_json: AsJson = False) -> None:
    """Let a running job make a checkpoint at its next step, and go on."""
    from orchestrator.gang.events import SaveNow

    with on_server(job, cluster, server) as there:
        there.save() if there is not None else _wish(job, cluster, SaveNow())
    _say(as_json, job, "saves at its next step")


def cancel(job: Job, cluster: On = None, server: Server = None, as_json: AsJson = False) -> None:
    """End a job; its last checkpoint stays."""
    from orchestrator.gang.events import Interrupted

    with on_server(job, cluster, server) as there:
        there.cancel() if there is not None else _wish(job, cluster, Interrupted())
    _say(as_json, job, "is being ended")


def status(job: Job, cluster: On = None, server: Server = None, as_json: AsJson = False) -> None:
    """What a job is doing."""
    from orchestrator.control import reach

    with on_server(job, cluster, server) as there:
        if there is not None:
            seen = there.status()
            if as_json:
                print_json(seen)
                return
            from orchestrator.cli.job_view import print_job

            print_job(seen)
            return
    with reach(job, cluster) as running:
        view = running.view()
    if as_json:
        print_json(view.to_json())
        return
    from orchestrator.cli.report import print_report

    print_report(view, sys.stdout)


def events(
    job: Job,
    follow: Follow = False,
    cluster: On = None,
    server: Server = None,
    story: Annotated[
        bool, typer.Option("--story", help="The transitions of its life instead, for whoever debugs it.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """What has happened to a job, a line each; steps are left out."""
    with on_server(job, cluster, server) as there:
        if there is not None:
            _print_events(there.events(follow=follow), as_json)
            return
    _print_history(job, cluster, story, as_json)


def _print_events(entries: Iterable[dict[str, Any]], as_json: bool) -> None:
    from orchestrator.cli.job_view import event_line

    for event in entries:
        if as_json:
            print_json(event)
        else:
            print(event_line(event), flush=True)


def _print_history(job: str, cluster: str | None, story: bool, as_json: bool) -> None:
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


def _wish(job: str, cluster: str | None, wish: Wish) -> None:
    from orchestrator.control import reach

    with reach(job, cluster) as running:
        running.wish(wish)


def _say(as_json: bool, job: str, what: str, **facts: object) -> None:
    print(json.dumps({"job": job, **facts}) if as_json else f"{job}: {what}")
