"""Checkpoints as people see them, and what there is to say about each."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.table import Table

    from workers.checkpoint.lineage import Lineage
    from workers.checkpoint.manifest import Manifest
    from workers.storage import Store

#: Columns of a table that is not printed to a terminal: wide enough for the names of tensors.
_PIPE_WIDTH = 160


def overview(store: Store) -> list[dict[str, Any]]:
    """One entry a checkpoint; one that cannot be used says why."""
    from workers.checkpoint.load import check_present, chunk_sizes, history, read_manifest
    from workers.errors import CheckpointError

    entries: list[dict[str, Any]] = []
    sizes = chunk_sizes(store)
    for step in history(store):
        entry: dict[str, Any] = {"step": step, "problem": None}
        entries.append(entry)
        try:
            manifest = read_manifest(store, step)
            entry |= {
                "job": manifest.job,
                "epoch": manifest.epoch,
                "samples": manifest.samples,
                "bytes": manifest.nbytes,
                "chunks": len(manifest.chunks),
                "state_digest": manifest.state_digest,
            }
            check_present(store, manifest, sizes)
        except CheckpointError as error:
            entry["problem"] = error.what
    return entries


def facts(store: Store, manifest: Manifest, sidecar: Mapping[str, Any]) -> dict[str, str]:
    """What a checkpoint says, by name."""
    from orchestrator.cli.format import size

    return {
        "uri": store.uri,
        "job": manifest.job,
        "step": f"{manifest.step}, epoch {manifest.epoch}, {manifest.samples:,} samples",
        "manifest": manifest.digest,
        "state digest": manifest.state_digest,
        "size": f"{size(manifest.nbytes)} in {len(manifest.chunks)} chunks",
        "recipe": manifest.recipe,
        "sources": json.dumps(manifest.sources),
        "params": json.dumps(manifest.params),
        "batch": f"{manifest.batch_size} samples over {manifest.virtual_ranks} virtual ranks",
        "seed": str(manifest.seed),
        "numerics": manifest.numerics,
        "began with": json.dumps(manifest.init_from) if manifest.init_from else "its recipe's own weights",
        "frozen": ", ".join(manifest.freeze) or "nothing by the job",
        "data": json.dumps(manifest.data),
        "left out": ", ".join(f"block {each.block} from step {each.step} on" for each in manifest.left_out)
        or "no damaged blocks",
        "environment": json.dumps(manifest.fingerprint),
        "noted": json.dumps(sidecar),
        "comes from": "its ancestors, the nearest first",
    }


def chain(found: Lineage) -> dict[str, Any]:
    """A checkpoint's ancestors, as JSON."""
    links = [{"step": link.step, "sha256": link.sha256, "state": link.state.value} for link in found.links]
    return {"ancestors": links, "whole": found.whole}


def chain_lines(found: Lineage) -> list[str]:
    """A checkpoint's ancestors, a line each, the nearest first, and where the chain ends."""
    words = {
        "intact": "is here, as its child names it",
        "gone": "is not kept any more",
        "another": "ANOTHER checkpoint is here under its step",
        "altered": "its manifest is here and ALTERED",
    }
    lines = [f"step {link.step:>8}  {link.sha256[:16]}  {words[link.state]}" for link in found.links]
    return [*lines, "step        0" if found.whole else "what was before is not known here"]


def listing(job: dict[str, Any]) -> Table:
    """The checkpoints of a job, one a row."""
    from rich.table import Table

    from orchestrator.cli.format import size

    table = Table(title=job["uri"], title_justify="left", box=None)
    for name in ("step", "epoch", "samples", "size"):
        table.add_column(name, justify="right")
    table.add_column("state digest")
    table.add_column("", style="red")
    for entry in job["checkpoints"]:
        cells = ["?"] * 4
        if "state_digest" in entry:
            digest = entry["state_digest"][:16]
            cells = [str(entry["epoch"]), f"{entry['samples']:,}", size(entry["bytes"]), digest]
        table.add_row(str(entry["step"]), *cells, entry["problem"] or "")
    return table


def tensors(manifest: Manifest) -> Table:
    """The tensors of a checkpoint, one a row."""
    from rich.table import Table

    from orchestrator.cli.format import size

    table = Table(box=None)
    for name in ("tensor", "dtype", "shape", "size", ""):
        table.add_column(name, justify="right" if name == "size" else "left", overflow="fold")
    for key, spec in manifest.tensors.items():
        shape = "×".join(map(str, spec.shape)) or "scalar"
        table.add_row(key, spec.dtype, shape, size(spec.nbytes), "frozen" if spec.frozen else "")
    return table


def print_table(table: Table) -> None:
    """Print to stdout."""
    from rich.console import Console

    console = Console(highlight=False, markup=False)
    console.print(table, width=None if console.is_terminal else _PIPE_WIDTH)
