"""`lockstep checkpoint prune`: removes what need not stay."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from workers.checkpoint.policy import Best, Retention

_BEST = re.compile(r"(.+):(min|max)(?::([1-9]\d*))?")


def prune(
    uri: Annotated[str, typer.Argument(help="A job's checkpoint folder: a URI or a plain path.")],
    keep: Annotated[
        int | None, typer.Option(min=1, help="Keep the newest so many; without it all of them.")
    ] = None,
    keep_every: Annotated[
        int | None, typer.Option(min=1, help="Keep those, too, whose step is a multiple of this.")
    ] = None,
    keep_best: Annotated[
        str | None, typer.Option(metavar="METRIC:min|max[:COUNT]", help="Keep the best, too, by a metric.")
    ] = None,
    grace: Annotated[
        float | None,
        typer.Option(
            min=0, help="Seconds; what no checkpoint names, and is younger, is left alone. By default a day."
        ),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be removed.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")] = False,
) -> None:
    """Remove checkpoints that need not stay, and what killed saves have left.

    Also while the job runs. A save that is on its way looks like one that was killed, so a grace period of
    less than a save takes, or than a supervisor may be gone, can cost it.
    """
    from workers.checkpoint.folders import one_job
    from workers.checkpoint.load import history
    from workers.checkpoint.retention import GRACE_SECONDS
    from workers.checkpoint.retention import prune as remove
    from workers.storage import Store, as_uri

    store = one_job(Store(as_uri(uri)))
    policy = _policy(keep, keep_every, keep_best)
    seconds = GRACE_SECONDS if grace is None else grace
    pruned = remove(store, policy, grace_seconds=seconds, dry_run=dry_run)
    result = {
        "uri": store.uri,
        "dry_run": dry_run,
        "steps": list(pruned.steps),
        "kept": [step for step in history(store) if step not in pruned.steps],
        "chunks": pruned.chunks,
        "bytes": pruned.freed_bytes,
        "unfinished": pruned.unfinished,
        "spared": pruned.spared,
        "unreadable": list(pruned.unreadable),
    }
    if as_json:
        typer.echo(json.dumps(result))
    else:
        _print(result, seconds)


def _print(result: dict[str, Any], grace_seconds: float) -> None:
    from orchestrator.cli.format import duration, plural, size

    done = "would remove" if result["dry_run"] else "removed"
    which = f": {', '.join(map(str, result['steps']))}" if result["steps"] else ""
    typer.echo(f"{done} {plural(len(result['steps']), 'checkpoint')}{which}")
    typer.echo(f"{done} {plural(result['chunks'], 'chunk')}, {size(result['bytes'])}")
    if result["unfinished"]:
        typer.echo(f"{done} {plural(result['unfinished'], 'unfinished file')}")
    if result["spared"]:
        young = f"younger than {duration(grace_seconds)}: perhaps of a save that is on its way"
        typer.echo(f"left {plural(result['spared'], 'chunk')} alone that no checkpoint names, {young}")
    if result["unreadable"]:
        steps = ", ".join(map(str, result["unreadable"]))
        typer.echo(f"left all chunks alone: nobody knows what these checkpoints name: {steps}")
    typer.echo(f"kept {', '.join(map(str, result['kept']))}")


def _policy(keep: int | None, keep_every: int | None, keep_best: str | None) -> Retention | None:
    from workers.checkpoint.policy import Retention
    from workers.errors import InputError

    if keep is None and (keep_every is not None or keep_best is not None):
        what = "what else stays has no meaning while all checkpoints stay"
        raise InputError(what, where="--keep", fix="say how many of the newest stay: --keep 3")
    if keep is None:
        return None
    return Retention(last=keep, every=keep_every, best=_best(keep_best))


def _best(text: str | None) -> Best | None:
    from workers.checkpoint.policy import Best
    from workers.errors import InputError

    if text is None:
        return None
    match = _BEST.fullmatch(text)
    if match is None:
        fix = "write METRIC:min or METRIC:max, and how many, such as accuracy:max:2"
        raise InputError(f"{text!r} does not say what is best", where="--keep-best", fix=fix)
    return Best(metric=match[1], mode="min" if match[2] == "min" else "max", count=int(match[3] or 1))
