"""`lockstep checkpoint diff`: in what two states differ, and by how much."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from orchestrator.cli.checkpoint_view import print_table

if TYPE_CHECKING:
    from rich.table import Table

    from workers.checkpoint.diff import Diff, Difference
    from workers.checkpoint.sides import Side
    from workers.checkpoint.tensors import TensorSpec

_STEP = re.compile(r"(.+)@(\d+)")
#: As diff(1) says it.
_DIFFERENT = 1

Which = "URI of a job's checkpoint folder, of its checkpoint STEP as URI@STEP, or a safetensors file."


def diff(
    a: Annotated[str, typer.Argument(metavar="A", help=Which)],
    b: Annotated[str, typer.Argument(metavar="B", help="The other one, in the same way.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")] = False,
) -> None:
    """Say which tensors of two checkpoints differ, by how much, and in what else the two differ.

    Exit code 0 if nothing does, 1 if something does. What chunks of the same hash hold is not read.
    """
    from workers.checkpoint.diff import compare

    sides = _side(a), _side(b)
    found = compare(*sides)
    if as_json:
        typer.echo(json.dumps({"a": sides[0].where, "b": sides[1].where, **_described(found)}))
    else:
        typer.echo(f"a  {sides[0].where}\nb  {sides[1].where}")
        _print(found)
    if not found.same:
        raise typer.Exit(_DIFFERENT)


def _side(text: str) -> Side:
    from workers.checkpoint.folders import one_job
    from workers.checkpoint.sides import FileSide, checkpoint_side
    from workers.storage import Store, as_uri, local_path

    if text.endswith(".safetensors"):
        return FileSide(local_path(text) if text.startswith("file://") else Path(text).expanduser())
    match = _STEP.fullmatch(text)
    uri, step = (match[1], int(match[2])) if match else (text, None)
    return checkpoint_side(one_job(Store(as_uri(uri))), step)


def _described(found: Diff) -> dict[str, Any]:
    facts = None
    if found.facts is not None:
        facts = {name: {"a": a, "b": b} for name, (a, b) in found.facts.items()}
    return {
        "same": found.same,
        "equal": found.equal,
        "tensors": [_tensor(difference) for difference in found.tensors],
        "only_a": list(found.only_a),
        "only_b": list(found.only_b),
        "facts": facts,
        "read_bytes": found.read_bytes,
    }


def _tensor(difference: Difference) -> dict[str, Any]:
    entry: dict[str, Any] = {"key": difference.key}
    for name, spec in (("a", difference.a), ("b", difference.b)):
        entry[name] = {"dtype": spec.dtype, "shape": list(spec.shape)}
    measured = difference.measured
    if measured is not None:
        entry |= {
            "elements": measured.elements,
            "not_finite": measured.not_finite,
            "max_abs": measured.max_abs,
            "max_rel": measured.max_rel,
        }
    return entry


def _print(found: Diff) -> None:
    from orchestrator.cli.format import plural, size

    differ = plural(len(found.tensors), "tensor") + (" differs" if len(found.tensors) == 1 else " differ")
    typer.echo(f"{plural(found.equal, 'tensor')} equal, {differ}; {size(found.read_bytes)} read")
    if found.tensors:
        print_table(_table(found))
    for name, keys in (("a", found.only_a), ("b", found.only_b)):
        for key in keys:
            typer.echo(f"only in {name}: {key}")
    if found.facts is None:
        typer.echo("a file does not say where it comes from: tensors alone were compared")
    for name, (one, other) in (found.facts or {}).items():
        typer.echo(f"{name}: {json.dumps(one)} → {json.dumps(other)}")


def _table(found: Diff) -> Table:
    from rich.table import Table

    from orchestrator.cli.format import number

    table = Table(box=None)
    table.add_column("tensor", overflow="fold")
    for name in ("elements", "of", "max abs", "max rel", "not finite"):
        table.add_column(name, justify="right")
    for difference in found.tensors:
        measured = difference.measured
        if measured is None:
            table.add_row(difference.key, f"{_kind(difference.a)} → {_kind(difference.b)}")
            continue
        sizes = ["-" if value is None else number(value) for value in (measured.max_abs, measured.max_rel)]
        counts = f"{measured.elements:,}", f"{difference.a.elements:,}"
        table.add_row(difference.key, *counts, *sizes, f"{measured.not_finite:,}")
    return table


def _kind(spec: TensorSpec) -> str:
    return f"{spec.dtype} {'×'.join(map(str, spec.shape)) or 'scalar'}"
