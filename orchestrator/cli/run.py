"""`lockstep run`: everything on this machine, followed to the end."""

from __future__ import annotations

import json
import sys
from contextlib import redirect_stdout
from pathlib import Path
from typing import Annotated

import typer

from orchestrator.exit_codes import INTERRUPTED

METRICS_ADDRESS = "127.0.0.1:9464"


def run(
    job: Annotated[Path, typer.Argument(metavar="JOB.yaml", help="The job file.")],
    workers: Annotated[
        int | None, typer.Option(help="How many workers; by default as many as fit, up to workers.max.")
    ] = None,
    overrides: Annotated[
        list[str] | None, typer.Option("--set", metavar="a.b=c", help="Override a field of the job file.")
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the newest good checkpoint.")] = False,
    fresh: Annotated[
        bool, typer.Option("--fresh", help="Start over; removes this job's checkpoints.")
    ] = False,
    cluster: Annotated[
        str, typer.Option(help="local: start Ray here. auto or HOST:PORT: join a running cluster.")
    ] = "local",
    log: Annotated[
        Path | None, typer.Option(help="Append one JSON line per step and event to this file.")
    ] = None,
    metrics: Annotated[
        str, typer.Option(metavar="HOST:PORT", help="Where to serve /metrics.")
    ] = METRICS_ADDRESS,
    as_json: Annotated[bool, typer.Option("--json", help="End with one JSON object on stdout.")] = False,
) -> None:
    """Train a job on this machine (or a running Ray cluster) and follow it to the end."""
    from orchestrator.cli.console import Console
    from orchestrator.cli.report import print_report
    from orchestrator.records.timeline import Timeline, process_began
    from orchestrator.run import Options, Run, execute, prepare
    from orchestrator.script_run import ScriptRun, execute_script, prepare_script
    from orchestrator.spec import ScriptSpec, load_job
    from workers.errors import InputError

    if resume and fresh:
        raise InputError("--resume and --fresh contradict each other", fix="choose one")
    timeline = Timeline(process_began())
    timeline.mark("imports")
    options = Options(
        workers=workers, resume=resume, fresh=fresh, cluster=cluster, log=log, metrics_address=metrics
    )
    spec = load_job(job, overrides or [])
    prepared: Run | ScriptRun
    if isinstance(spec, ScriptSpec):
        prepared = prepare_script(spec, job, options)
    else:
        prepared = prepare(spec, job, options, timeline)
    timeline.mark("preparation")
    console = Console(lambda: prepared.latest.view)
    try:
        with redirect_stdout(sys.stderr):  # Ray prints what it thinks of dead workers
            if isinstance(prepared, ScriptRun):
                outcome, view = execute_script(prepared, console)
            else:
                outcome, view = execute(prepared, console)
    except KeyboardInterrupt:
        print("interrupted before training began", file=sys.stderr)
        raise typer.Exit(INTERRUPTED) from None
    finally:
        console.close()
    print_report(view, sys.stderr)
    if as_json:
        print(json.dumps(view.to_json(), ensure_ascii=False, allow_nan=False))
    raise typer.Exit(outcome.exit_code)
