"""Which samples a step consumed, from what a checkpoint says alone."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from workers.errors import CheckpointError, InputError

if TYPE_CHECKING:
    from orchestrator.cli.order import Ordered
    from workers.checkpoint.manifest import Manifest
    from workers.protocol import DataMixture, DataSource
    from workers.storage import Store

Json = Any


def print_samples(store: Store, step: int | None, data: Sequence[str] | None, as_json: bool) -> None:
    """Print the samples of a step.

    Args:
        store: the job's checkpoint folder.
        step: any up to the newest checkpoint's; that one if not given.
        data: where the training data are, a path or URI for each data set; as noted if not given.
        as_json: one object instead of a line a sample: virtual rank, epoch, index in it, object, row.
    """
    import typer

    from workers.checkpoint.sidecar import read_sidecar
    from workers.storage import as_uri

    manifest, number = manifest_covering(store, step)
    if number < 1:
        raise InputError("before the first step there are no samples", where="--step", fix="name 1 or later")
    uris = [as_uri(uri) for uri in data] if data else noted_uris(read_sidecar(store, manifest.step))
    if uris is None and manifest.data["train"] is not None:
        raise InputError("it is not noted where the training data are", where=store.uri, fix="add --data URI")
    lines = step_samples(manifest, number, uris or [])
    if as_json:
        found = {"uri": store.uri, "job": manifest.job, "step": number, "samples": list(lines)}
        typer.echo(json.dumps(found))
        return
    for line in lines:
        where = " ".join(str(line[name]) for name in ("source", "object", "row", "token") if name in line)
        typer.echo(f"{line['vrank']:>4} {line['epoch']:>4} {line['i']:>10} {where}")


def manifest_covering(store: Store, step: int | None) -> tuple[Manifest, int]:
    """A checkpoint that has seen a step, the nearest there is, and that step; the newest if not given.

    Raises:
        CheckpointError: no checkpoint has come so far.
    """
    from workers.checkpoint.load import history, read_manifest

    steps = history(store)
    if step is None:
        return read_manifest(store, steps[-1]), steps[-1]
    found = next((there for there in steps if there >= step), None)
    if found is None:
        what = f"no checkpoint has come as far as step {step}"
        raise CheckpointError(what, where=store.uri, fix=f"name a step up to {steps[-1]}")
    return read_manifest(store, found), step


def noted_uris(sidecar: Mapping[str, Json]) -> list[str] | None:
    """Where the run that wrote a checkpoint read its training data, a URI for each data set."""
    noted = sidecar.get("train")
    return [str(uri) for uri in noted] if isinstance(noted, list) and noted else None


def step_samples(manifest: Manifest, step: int, uris: Sequence[str]) -> Iterator[dict[str, Json]]:
    """The samples that every virtual rank took in a step, as lines of `lockstep data order`.

    Args:
        manifest: of the job, at this step or later.
        step: counted from 1.
        uris: where its training data are, a URI for each data set.

    Raises:
        InputError: the job's data have no samples, or are not so many data sets.
        DataError: a data set has no such version.
    """
    from orchestrator.cli.order import epoch_lines, mixture_lines
    from workers.data.order import OrderSettings
    from workers.data.packing import sample_rows
    from workers.data.stream import cut_into_steps
    from workers.protocol import DataMixture

    train = _train(manifest, uris)
    vranks = manifest.virtual_ranks
    left_out = [each.block for each in manifest.left_out if each.step <= step]
    taken = cut_into_steps(train, vranks, manifest.batch_size // vranks).at(step - 1)
    if isinstance(train, DataMixture):
        yield from mixture_lines(
            [_ordered(source) for source in train.sources],
            train.weights,
            seed=manifest.seed,
            vranks=vranks,
            chosen=range(vranks),
            start=taken.start,
            count=taken.counts[0],
            left_out=left_out,
        )
        return
    source = _ordered(train)
    settings = OrderSettings(
        seed=manifest.seed, window_blocks=train.window_blocks, sample_rows=sample_rows(train.packing)
    )
    order = settings.epoch(taken.epoch, source.block_rows, vranks)
    for vrank, count in enumerate(taken.counts):
        yield from epoch_lines(source, order, [vrank], taken.start, count, left_out)


def _train(manifest: Manifest, uris: Sequence[str]) -> DataSource | DataMixture:
    """The training data as the job had pinned them."""
    from workers.protocol import DataMixture

    described = manifest.data["train"]
    if described is None:
        fix = "ask of a job with data.train"
        raise InputError("its recipe makes its own data: they are stored nowhere", where="--samples", fix=fix)
    parts = described.get("mix", [described])
    if len(parts) != len(uris):
        fix = "give --data once for each data set, in the order of the job file"
        raise InputError(f"the job read {len(parts)} data sets, not {len(uris)}", where="--data", fix=fix)
    sources = tuple(_source(part, uri) for part, uri in zip(parts, uris, strict=True))
    if "mix" not in described:
        return sources[0]
    weights = tuple(part["weight"] for part in parts)
    return DataMixture(sources=sources, weights=weights, epoch_end=described["epoch_end"])


def _source(described: Mapping[str, Json], uri: str) -> DataSource:
    from workers.protocol import DataSource, Packing

    packing = described.get("packing")
    return DataSource(
        uri=uri,
        manifest_digest=described["digest"],
        rows=described["rows"],
        window_blocks=described["window_blocks"],
        packing=Packing(**packing) if packing else None,
    )


def _ordered(source: DataSource) -> Ordered:
    from orchestrator.cli.order import Ordered
    from workers.data.dataset import Dataset

    dataset = Dataset.open(source.uri, digest=source.manifest_digest)
    return Ordered(dataset=dataset, window_blocks=source.window_blocks, packing=source.packing)
