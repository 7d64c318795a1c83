"""`lockstep checkpoint`: list, inspect, check and export what jobs have saved."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from orchestrator.cli import checkpoint_view as view

if TYPE_CHECKING:
    from workers.checkpoint.manifest import Manifest
    from workers.errors import CheckpointError
    from workers.storage import Store

app = typer.Typer(help="List, inspect, check and export checkpoints.", no_args_is_help=True)

Uri = Annotated[str, typer.Argument(help="A job's checkpoint folder: a URI or a plain path.")]
Step = Annotated[int | None, typer.Option(min=0, help="Which checkpoint; the newest if not given.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")]


@app.command("list")
def list_all(uri: Uri, as_json: Json = False) -> None:
    """List the checkpoints of a job, or of all jobs below a prefix."""
    from workers.checkpoint.folders import job_folders

    jobs = [{"uri": store.uri, "checkpoints": view.overview(store)} for store in job_folders(_store(uri))]
    if as_json:
        typer.echo(json.dumps({"jobs": jobs}))
        return
    for job in jobs:
        view.print_table(view.listing(job))


@app.command()
def show(uri: Uri, step: Step = None, as_json: Json = False) -> None:
    """Show what a checkpoint says: where it comes from and what it holds."""
    store = _job(uri)
    manifest = _manifest(store, step)
    if as_json:
        typer.echo(
            json.dumps({"uri": store.uri, "sidecar": view.sidecar(store, manifest), **manifest.json()})
        )
        return
    for name, value in view.facts(store, manifest).items():
        typer.echo(f"{name:<14} {value}")
    view.print_table(view.tensors(manifest))


@app.command()
def verify(
    uri: Uri,
    step: Step = None,
    every: Annotated[bool, typer.Option("--all", help="Every checkpoint of the job.")] = False,
    as_json: Json = False,
) -> None:
    """Read a checkpoint to the last byte and check every hash. Exit code 2 if anything is damaged."""
    from workers.checkpoint.load import history
    from workers.errors import CheckpointError

    store = _job(uri)
    steps = history(store) if every else [history(store)[-1] if step is None else step]
    found = [(number, _problems(store, number)) for number in steps]
    if as_json:
        checked = [{"step": n, "problems": [_describe(p) for p in problems]} for n, problems in found]
        typer.echo(json.dumps({"uri": store.uri, "ok": not any(p for _, p in found), "checkpoints": checked}))
    else:
        for number, problems in found:
            typer.echo(f"step {number}: " + ("intact" if not problems else ""))
            for problem in problems:
                typer.echo(f"  {problem.where}: {problem.what}")
    damaged = [number for number, problems in found if problems]
    if damaged:
        what = f"{len(damaged)} of {len(found)} checkpoints are damaged: step {', '.join(map(str, damaged))}"
        raise CheckpointError(what, where=store.uri, fix="resume takes the newest one that is intact")


@app.command()
def export(
    uri: Uri,
    out: Annotated[Path, typer.Argument(metavar="OUT.safetensors", help="The file to write.")],
    step: Step = None,
    as_json: Json = False,
) -> None:
    """Write a checkpoint as one safetensors file, from which anyone can recompute the state digest."""
    from workers.checkpoint.export import export as write

    store = _job(uri)
    manifest = _manifest(store, step)
    write(store, manifest, out)
    result = {
        "uri": store.uri,
        "step": manifest.step,
        "out": str(out),
        "tensors": len(manifest.tensors),
        "bytes": out.stat().st_size,
        "state_digest": manifest.state_digest,
    }
    if as_json:
        typer.echo(json.dumps(result))
        return
    for name, value in result.items():
        typer.echo(f"{name.replace('_', ' '):<14} {value}")


def _store(uri: str) -> Store:
    from workers.storage import Store, as_uri

    return Store(as_uri(uri))


def _job(uri: str) -> Store:
    from workers.checkpoint.folders import one_job

    return one_job(_store(uri))


def _manifest(store: Store, step: int | None) -> Manifest:
    from workers.checkpoint.load import history, read_manifest

    return read_manifest(store, history(store)[-1] if step is None else step)


def _problems(store: Store, step: int) -> list[CheckpointError]:
    from workers.checkpoint.load import read_manifest, verify
    from workers.errors import CheckpointError

    try:
        return verify(store, read_manifest(store, step))
    except CheckpointError as error:
        return [error]


def _describe(problem: CheckpointError) -> dict[str, str | None]:
    return {"object": problem.where, "what": problem.what}
