"""The `lockstep` command. Subcommands import what they need when they run, so that `--help` is quick."""

from __future__ import annotations

import sys

import typer

from orchestrator.cli import (
    administration,
    checkpoint,
    data,
    debugging,
    jobs,
    listing,
    replay,
    run,
    serve,
    simulate,
    submit,
    top,
    verify,
)
from orchestrator.exit_codes import INTERRUPTED
from workers import garbage
from workers.errors import LockstepError

app = typer.Typer(
    name="lockstep",
    help="Distributed deep-learning training on whatever machines you can get: same result, bit for bit.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=True,
)
app.command()(run.run)
for service in (serve.serve, submit.submit, listing.jobs, listing.logs, listing.explain):
    app.command()(service)
for command in (jobs.status, jobs.events, jobs.resize, jobs.drain, jobs.pause, jobs.resume, jobs.save):
    app.command()(command)
for other in (jobs.cancel, submit.wait, top.top, administration.audit):
    app.command()(other)
app.command()(replay.replay)
app.command()(verify.verify)
app.command()(simulate.simulate)
app.add_typer(administration.queue, name="queue")
app.add_typer(administration.token, name="token")
app.add_typer(administration.node, name="node")
app.add_typer(debugging.debug, name="debug")
app.add_typer(data.app, name="data")
app.add_typer(checkpoint.app, name="checkpoint")


def entry() -> None:
    """Run the command line; errors meant for users become a message and an exit code."""
    garbage.seldom()
    try:
        app()
    except LockstepError as error:
        complain(error)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)


def complain(error: LockstepError) -> None:
    """Say what was wrong, where, and what would be right; on stdout too if JSON was asked for."""
    print(f"error: {error}", file=sys.stderr)
    if "--json" in sys.argv[1:]:
        import json

        print(json.dumps({"error": {"what": error.what, "where": error.where, "fix": error.fix}}))
