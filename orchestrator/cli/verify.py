"""`lockstep verify`: train again, and prove that what was saved is what comes of it."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from orchestrator.exit_codes import DONE, FAILED

if TYPE_CHECKING:
    from orchestrator.verify import Claim
    from workers.replay.proof import Mismatch, Verdict

_TENSORS = 20  # that differ, named in text


def verify(
    job: Annotated[Path, typer.Argument(metavar="JOB.yaml", help="The job file.")],
    begin: Annotated[
        int, typer.Option("--from", min=0, help="The checkpoint to begin from; 0 to begin from nothing.")
    ] = 0,
    end: Annotated[
        int | None, typer.Option("--to", min=1, help="The last checkpoint; the newest if not given.")
    ] = None,
    workers: Annotated[
        int, typer.Option(min=1, help="How many processes train; the result does not depend on it.")
    ] = 1,
    allow_changes: Annotated[
        bool,
        typer.Option(
            "--allow-changes",
            help="Compare although the recipe's sources or the environment changed; that proves nothing.",
        ),
    ] = False,
    overrides: Annotated[
        list[str] | None, typer.Option("--set", metavar="a.b=c", help="Override a field of the job file.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="End with one JSON object on stdout.")] = False,
) -> None:
    """Train from one checkpoint to another again, and compare the whole state at each one on the way.

    Plain processes on this machine do it; nothing is written. Exit code 0 if all are equal to the last bit, 1
    if not: then the first step and the tensors that differ are named, and processes that miscalculate.
    """
    from orchestrator.cli.progress import counting
    from orchestrator.prepare import resolve
    from orchestrator.spec import load_recipe_job
    from orchestrator.verify import find_claim

    train_job = resolve(load_recipe_job(job, overrides or []), job)
    claim = find_claim(train_job, begin, end, workers, allow_changes=allow_changes)
    from workers.replay.proof import Proof

    with counting("steps") as progress:
        proof = Proof(
            train_job,
            str(train_job.checkpoint_uri),
            claim.start,
            claim.goals,
            workers=workers,
            allow_changes=allow_changes,
            notice=_warn,
            progress=progress,
        )
        verdict = proof.run()
    out = sys.stderr if as_json else sys.stdout
    for line in _words(claim, verdict, begin, workers):
        print(line, file=out)
    if as_json:
        print(json.dumps(_json(train_job.name, claim, verdict, begin, workers), allow_nan=False))
    raise typer.Exit(DONE if verdict.mismatch is None and not claim.broken else FAILED)


def _warn(changes: Sequence[str]) -> None:
    print("not a proof, because something changed since then:", file=sys.stderr)
    for change in changes:
        print(f"  {change}", file=sys.stderr)


def _words(claim: Claim, verdict: Verdict, begin: int, workers: int) -> Iterator[str]:
    from orchestrator.cli.format import plural

    for link in claim.broken:
        yield f"the chain is broken: {link}"
    if verdict.mismatch is not None:
        yield from _mismatch_words(verdict.mismatch, (verdict.equal or (begin,))[-1], workers)
        return
    proven = "proven equal" if not verdict.changes and not claim.broken else "equal, but nothing is proven"
    checkpoints = plural(len(verdict.equal), "checkpoint")
    yield f"{proven}: steps {begin}..{verdict.equal[-1]}, {checkpoints}, on {plural(workers, 'worker')}"


def _mismatch_words(mismatch: Mismatch, last_equal: int, workers: int) -> Iterator[str]:
    yield f"NOT equal at step {mismatch.step}; up to step {last_equal} it is"
    if not mismatch.agree:
        who = ", ".join(map(str, mismatch.workers))
        yield f"  the processes do not agree: {who} of 0..{workers - 1} differ from the checkpoint"
    for difference in mismatch.differences[:_TENSORS]:
        yield f"  {difference.key} {difference.what}"
    if len(mismatch.differences) > _TENSORS:
        yield f"  and {len(mismatch.differences) - _TENSORS} more"


def _json(name: str, claim: Claim, verdict: Verdict, begin: int, workers: int) -> dict[str, Any]:
    equal = verdict.mismatch is None
    return {
        "job": name,
        "from": begin,
        "to": claim.goals[-1].step,
        "workers": workers,
        "equal": equal,
        "proven": equal and not verdict.changes and not claim.broken,
        "checkpoints": list(verdict.equal),
        "changes": list(verdict.changes),
        "broken_links": list(claim.broken),
        "first_difference": verdict.mismatch.json() if verdict.mismatch is not None else None,
    }
