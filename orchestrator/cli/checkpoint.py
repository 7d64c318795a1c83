"""`lockstep checkpoint`: list, inspect, check, compare, export and prune what jobs have saved."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from orchestrator.cli import checkpoint_view as view
from orchestrator.cli.checkpoint_diff import diff
from orchestrator.cli.checkpoint_prune import prune

if TYPE_CHECKING:
    from workers.checkpoint.manifest import Manifest
    from workers.errors import CheckpointError
    from workers.storage import Store

app = typer.Typer(help="List, inspect, check, compare, export and prune checkpoints.", no_args_is_help=True)

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
def show(
    uri: Uri,
    step: Step = None,
    samples: Annotated[
        bool,
        typer.Option("--samples", help="Print the samples of this step instead, of any up to the newest."),
    ] = False,
    data: Annotated[
        list[str] | None,
        typer.Option(help="Where the training data are now; once for each data set of a mixture."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Show what a checkpoint says: where it comes from, back to step 0, and what it holds."""
    from orchestrator.cli.step_samples import print_samples
    from workers.checkpoint.lineage import lineage
    from workers.checkpoint.sidecar import read_sidecar

    store = _job(uri)
    if samples:
        print_samples(store, step, data, as_json)
        return
    manifest = _manifest(store, step)
    sidecar = read_sidecar(store, manifest.step)
    sidecar.pop("ancestors", None)  # part of the lineage
    chain = lineage(store, manifest)
    if as_json:
        found = {
            "uri": store.uri,
            "sha256": manifest.digest,
            "sidecar": sidecar,
            "lineage": view.chain(chain),
        }
        typer.echo(json.dumps({**manifest.json(), **found}))
        return
    for name, value in view.facts(store, manifest, sidecar).items():
        typer.echo(f"{name:<14} {value}")
    for line in view.chain_lines(chain):
        typer.echo(f"{'':<14} {line}")
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
    out: Annotated[
        Path,
        typer.Argument(
            metavar="OUT",
            help="The file to write: OUT.pt or OUT.pth for torch.load, any other name for safetensors.",
        ),
    ],
    step: Step = None,
    only: Annotated[
        list[str] | None,
        typer.Option(help="Only tensors whose keys begin like this, such as model/; * and ? are wild."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Write a checkpoint as one file, of safetensors or a state dict for torch.load(weights_only=True).

    Keys are those that `show` prints. From a whole safetensors file anyone can recompute the state digest.
    """
    from workers.checkpoint.export import chosen
    from workers.checkpoint.export import export as write

    store = _job(uri)
    manifest = _manifest(store, step)
    keys = chosen(manifest, only or [])
    write(store, manifest, out, keys)
    result = {
        "uri": store.uri,
        "step": manifest.step,
        "out": str(out),
        "tensors": len(keys),
        "bytes": out.stat().st_size,
        "state_digest": manifest.state_digest,
    }
    if as_json:
        typer.echo(json.dumps(result))
        return
    for name, value in result.items():
        typer.echo(f"{name.replace('_', ' '):<14} {value}")


app.command()(diff)
app.command()(prune)


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
