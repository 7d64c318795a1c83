"""`lockstep debug`: what a server's scheduler saw, and what its jobs were like, for trying it elsewhere."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from orchestrator.cli.options import AsJson, Server, print_json
from orchestrator.cli.options import server as reach_server
from workers.errors import InputError

debug = typer.Typer(help="What a server's scheduler saw, and what its jobs were like.", no_args_is_help=True)


@debug.command()
def snapshot(
    file: Annotated[Path | None, typer.Option(help="Where to write it; stdout if left out.")] = None,
    server: Server = None,
) -> None:
    """What a server's scheduler saw last, as JSON: it can be planned again elsewhere."""
    import json

    with reach_server(server) as client:
        seen = json.dumps(client.wire.get("/v1/debug/snapshot"))
    if file is None:
        print(seen)
    else:
        file.write_text(seen + "\n")


@debug.command()
def trace(
    file: Annotated[Path, typer.Argument(help="Where to write it.")],
    queues: Annotated[
        list[str] | None, typer.Option("--queue", help="Only jobs of this queue; may be given again.")
    ] = None,
    server: Server = None,
    as_json: AsJson = False,
) -> None:
    """A server's jobs that are over, as a trace for `lockstep simulate`."""
    from orchestrator.simulator.generate import write_trace
    from orchestrator.simulator.history import trace_of

    with reach_server(server) as client:
        found = trace_of(client.jobs(queues=queues))
    if not found:
        raise InputError("no job that ran is over yet", fix="try again when one is")
    try:
        write_trace(file, found)
    except OSError as error:
        text = f"it cannot be written: {error.strerror}"
        raise InputError(text, where=str(file), fix="name a new file") from error
    print_json({"file": str(file), "jobs": len(found)}) if as_json else print(f"{len(found)} jobs in {file}")
