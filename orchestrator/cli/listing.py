"""`lockstep jobs`, `logs`, `explain`: what a server has, what a job wrote, and why it waits."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from orchestrator.cli.options import AsJson, Follow, Job, Server, print_json
from orchestrator.cli.options import server as reach_server


def jobs(
    states: Annotated[
        list[str] | None, typer.Option("--state", help="Only jobs in this state; may be given again.")
    ] = None,
    queues: Annotated[
        list[str] | None, typer.Option("--queue", help="Only jobs of this queue; may be given again.")
    ] = None,
    user: Annotated[str | None, typer.Option(help="Only this user's.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="How many at most.")] = 50,
    server: Server = None,
    as_json: AsJson = False,
) -> None:
    """A server's jobs, the newest first; with --json one object a line."""
    with reach_server(server) as client:
        found = client.jobs(states=states, queues=queues, user=user, limit=limit)
        if as_json:
            for seen in found:
                print_json(seen)
            return
        from orchestrator.cli.job_view import print_jobs

        print_jobs(list(found))


def logs(job: Job, follow: Follow = False, server: Server = None, as_json: AsJson = False) -> None:
    """What a job's processes have written."""
    with reach_server(server) as client:
        for piece in client.job(job).logs(follow=follow):
            if as_json:
                print_json({"text": piece})
            else:
                sys.stdout.write(piece)
                sys.stdout.flush()


def explain(job: Job, server: Server = None, as_json: AsJson = False) -> None:
    """Why a job waits, what would have to change, and when it starts if that can be known."""
    with reach_server(server) as client:
        why = client.job(job).explain()
    if as_json:
        print_json(why)
        return
    from orchestrator.cli.job_view import explanation_lines

    for line in explanation_lines(why):
        print(line)
