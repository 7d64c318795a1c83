"""Options that many commands have, and where they look for a job: here, on a server, on a cluster."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Annotated

import typer

from orchestrator.sessions import find_server, find_session, session_names

if TYPE_CHECKING:
    from orchestrator.client import Client
    from orchestrator.client.job import Job as ServerJob

_PATIENCE_SECONDS = 10.0
_COMPLETION_PATIENCE_SECONDS = 1.0
_COMPLETIONS_MAX = 100


def complete_job(incomplete: str) -> list[str]:
    """Names of jobs that begin so; for the shell, which must neither wait long nor see an error."""
    names: list[str] = []
    with suppress(Exception):
        names += session_names()
    with suppress(Exception):
        from orchestrator.client import Client

        with Client(patience=_COMPLETION_PATIENCE_SECONDS) as client:
            names += [seen["job"] for seen in client.jobs(limit=_COMPLETIONS_MAX)]
    return sorted({name for name in names if name.startswith(incomplete)})


Job = Annotated[
    str,
    typer.Argument(
        metavar="JOB", help="The job's name; on a server, or its id.", autocompletion=complete_job
    ),
]
Server = Annotated[
    str | None,
    typer.Option(
        "--server",
        metavar="URL",
        help="By default LOCKSTEP_SERVER, or the one that you run here. LOCKSTEP_TOKEN lets you in.",
    ),
]
On = Annotated[
    str | None,
    typer.Option("--cluster", help="auto or HOST:PORT: ask a Ray cluster, without a server."),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON on stdout.")]
Follow = Annotated[bool, typer.Option("--follow", "-f", help="Go on until the job is over.")]


@contextmanager
def server(url: str | None) -> Iterator[Client]:
    """The server that is meant.

    Raises:
        LockstepError: see `orchestrator.client.Client`.
    """
    from orchestrator.client import Client

    with Client(url, patience=_PATIENCE_SECONDS) as client:
        yield client


@contextmanager
def on_server(job: str, cluster: str | None, url: str | None) -> Iterator[ServerJob | None]:
    """A job of a server; None if it runs embedded on this machine, or on a cluster without a server."""
    from workers.errors import InputError

    if cluster is not None and url is not None:
        raise InputError("--cluster and --server contradict each other", fix="choose one")
    known = url or os.environ.get("LOCKSTEP_SERVER") or find_server()
    if cluster is not None or (url is None and find_session(job) is not None) or not known:
        yield None
        return
    with server(url) as client:
        yield client.job(job)


def print_json(value: object) -> None:
    """One line on stdout."""
    print(json.dumps(value, ensure_ascii=False, allow_nan=False), flush=True)
