"""`lockstep submit` and `wait`: hand a job to a server, and see how it ends."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from orchestrator.cli.options import AsJson, Job, Server, print_json
from orchestrator.cli.options import server as reach_server

if TYPE_CHECKING:
    from orchestrator.client.job import Job as ServerJob

_STILL_RUNS = 124  # as timeout(1) has it


def submit(
    job: Annotated[Path, typer.Argument(metavar="JOB.yaml", help="The job file; its folder goes along.")],
    overrides: Annotated[
        list[str] | None, typer.Option("--set", metavar="a.b=c", help="Override a field of the job file.")
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the newest good checkpoint.")] = False,
    fresh: Annotated[
        bool, typer.Option("--fresh", help="Start over; removes this job's checkpoints.")
    ] = False,
    key: Annotated[
        str | None, typer.Option(help="Handing in the same again with the same key gives the same job.")
    ] = None,
    wait: Annotated[bool, typer.Option("--wait", help="Until the job is over.")] = False,
    server: Server = None,
    as_json: AsJson = False,
) -> None:
    """Hand a job to a server and return at once: it is in its queue, and stays there whatever happens."""
    from workers.errors import InputError

    if resume and fresh:
        raise InputError("--resume and --fresh contradict each other", fix="choose one")
    notes: list[str] = []
    with reach_server(server) as client:
        start: Literal["new", "resume", "fresh"] = "resume" if resume else "fresh" if fresh else "new"
        handed_in = client.submit(job, overrides=overrides or [], start=start, key=key, notes=notes)
        for note in notes:
            print(f"note: {note}", file=sys.stderr)
        if wait:
            print(f"{handed_in.name} ({handed_in.id})", file=sys.stderr)
            _wait(handed_in, None, as_json)
        elif as_json:
            print_json(handed_in.status())
        else:
            print(f"{handed_in.name} is job {handed_in.id}")


def wait(
    job: Job,
    timeout: Annotated[
        float | None, typer.Option(help="Seconds; if the job is not over then, the exit code is 124.")
    ] = None,
    server: Server = None,
    as_json: AsJson = False,
) -> None:
    """Until a server's job is over; the exit code says how: 0 done, 1 failed or cancelled, 2 wrong input."""
    with reach_server(server) as client:
        _wait(client.job(job), timeout, as_json)


def _wait(job: ServerJob, timeout: float | None, as_json: bool) -> None:
    from orchestrator.cli.job_view import print_job
    from orchestrator.client.job import exit_code

    try:
        seen = job.wait(timeout)
    except TimeoutError as error:
        print(error, file=sys.stderr)
        raise typer.Exit(_STILL_RUNS) from None
    if as_json:
        print_json(seen)
    else:
        print_job(seen)
    raise typer.Exit(exit_code(seen))
