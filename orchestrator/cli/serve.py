"""`lockstep serve`: the orchestrator as a service."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def serve(
    host: Annotated[
        str, typer.Option(help="Where to listen; beyond this machine only with TLS.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 for any that is free.")] = 8750,
    state: Annotated[Path, typer.Option(help="Folder for all that is kept, unless it is elsewhere.")] = Path(
        "~/.local/state/lockstep"
    ),
    database: Annotated[
        str | None,
        typer.Option(
            metavar="URL", help="postgresql://...; by default an SQLite file in the state's folder."
        ),
    ] = None,
    bundles: Annotated[
        str | None,
        typer.Option(metavar="URI", help="Where jobs' folders are kept, such as s3://bucket/lockstep."),
    ] = None,
    cluster: Annotated[
        str, typer.Option(help="local: start Ray here. auto or HOST:PORT: join a running cluster.")
    ] = "local",
    scheduler: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="The scheduler's settings, in YAML: docs/scheduler.md."),
    ] = None,
    keep_days: Annotated[
        float, typer.Option(min=0.0, help="Days after a job's end that its events are kept.")
    ] = 30.0,
    keep_audit_days: Annotated[
        float, typer.Option(min=0.0, help="Days that entries of the audit log are kept.")
    ] = 365.0,
    names: Annotated[
        list[str] | None,
        typer.Option("--name", help="A name that it is called by, beside its address; may be given again."),
    ] = None,
    tls_cert: Annotated[Path | None, typer.Option(help="Certificate and its chain, in PEM.")] = None,
    tls_key: Annotated[Path | None, typer.Option(help="The certificate's key, in PEM.")] = None,
    behind_tls_proxy: Annotated[
        bool, typer.Option("--behind-tls-proxy", help="A proxy in front speaks TLS with the world.")
    ] = False,
) -> None:
    """Run the service: a queue, a scheduler, and an API for submit, jobs, status, ..."""
    from orchestrator.api.hosting import Listening
    from orchestrator.service.retention import Keep
    from orchestrator.service.serve import Options
    from orchestrator.service.serve import serve as run

    listening = Listening(
        host=host, port=port, tls_cert=tls_cert, tls_key=tls_key, behind_tls_proxy=behind_tls_proxy
    )
    run(
        Options(
            listening=listening,
            names=tuple(names or ()),
            state=state.expanduser(),
            database=database,
            bundles=bundles,
            cluster=cluster,
            scheduler=scheduler,
            keep=Keep(event_days=keep_days, audit_days=keep_audit_days),
        )
    )
