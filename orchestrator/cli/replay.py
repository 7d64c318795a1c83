"""`lockstep replay`: one step of a job, before everybody's eyes."""

from __future__ import annotations

import json
import sys
from contextlib import nullcontext, redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from workers.protocol import TrainJob
    from workers.replay.origin import Origin
    from workers.replay.sight import StepSight


def replay(
    job: Annotated[Path, typer.Argument(metavar="JOB.yaml", help="The job file.")],
    step: Annotated[int, typer.Option(min=1, help="Which step, counted from 1 as in logs.")],
    vrank: Annotated[
        int | None, typer.Option(min=0, help="Show, save and debug this virtual rank; by default all.")
    ] = None,
    debug: Annotated[
        bool,
        typer.Option(
            "--pdb", help="Stop inside the recipe's `loss`, of --vrank or of the first with samples."
        ),
    ] = False,
    save: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Write batches, inputs and gradients of the step there."),
    ] = None,
    layers: Annotated[
        bool, typer.Option("--layers", help="Gradient norms by parameter of each virtual rank, too.")
    ] = False,
    begin: Annotated[
        int | None,
        typer.Option("--from", min=0, help="Begin at this checkpoint, 0 for none; by default the nearest."),
    ] = None,
    go_on: Annotated[
        bool,
        typer.Option("--go-on", help="To the step, past any with a loss or gradient that is not finite."),
    ] = False,
    allow_changes: Annotated[
        bool,
        typer.Option("--allow-changes", help="Although the recipe's sources or the environment changed."),
    ] = False,
    overrides: Annotated[
        list[str] | None, typer.Option("--set", metavar="a.b=c", help="Override a field of the job file.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="End with one JSON object on stdout.")] = False,
) -> None:
    """Do one step of a job again, in this process, and show it. Writes nothing of the job's.

    Restores the nearest checkpoint before the step and goes on to it, with all virtual ranks here: the step
    is the same, whatever number of workers the job ran on. Stops early at a step whose loss or gradient is
    not finite.
    """
    from orchestrator.cli.replay_view import print_sight
    from orchestrator.prepare import resolve
    from orchestrator.spec import load_recipe_job
    from workers.replay.origin import find_origin

    train_job = resolve(load_recipe_job(job, overrides or []), job)
    _check_vrank(train_job, vrank)
    origin = find_origin(train_job, step, begin, allow_changes=allow_changes)
    sight = _see(
        train_job,
        origin,
        step=step,
        goes_on=go_on,
        allow_changes=allow_changes,
        debug=debug,
        save=save,
        vrank=vrank,
    )
    print_sight(sight, vrank=vrank, layers=layers, file=sys.stderr if as_json else sys.stdout)
    if as_json:
        print(json.dumps(sight.json(vrank=vrank, layers=layers), ensure_ascii=False, allow_nan=False))


def _see(job: TrainJob, origin: Origin, **request: Any) -> StepSight:
    """Go there, and look; see `workers.replay.travel.Request`."""
    import bdb

    from orchestrator.cli.progress import counting
    from workers.replay.travel import Request, Traveller

    debug = request["debug"]
    try:
        with nullcontext() if debug else redirect_stdout(sys.stderr):  # what recipes print
            with counting("steps") as progress:
                traveller = Traveller(job, origin, Request(**request), progress)
                traveller.go()
            sight = traveller.look()
    except bdb.BdbQuit:
        print("left in the debugger", file=sys.stderr)
        raise typer.Exit from None
    if debug:
        print()  # the debugger's prompt may still stand there
    return sight


def _check_vrank(job: TrainJob, vrank: int | None) -> None:
    from workers.errors import InputError

    if vrank is not None and vrank >= job.virtual_ranks:
        fix = f"choose one from 0 to {job.virtual_ranks - 1}"
        raise InputError(f"job {job.name} has {job.virtual_ranks} virtual ranks", where="--vrank", fix=fix)
