"""What rank 0 knows of a checkpoint before its chunks are written: the manifest without chunks and parent."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from workers.checkpoint.tensors import TensorSpec
from workers.protocol import DataMixture, DataSource, InitFrom, LeftOut, TrainJob

Json = Any


def draft_manifest(
    job: TrainJob,
    *,
    step: int,
    epoch: int,
    samples: int,
    fingerprint: Mapping[str, Json],
    scalars: Mapping[str, Json],
    specs: Mapping[str, TensorSpec],
    state_digest: str,
    left_out: Sequence[LeftOut] = (),
) -> dict[str, Json]:
    """All of a manifest's fields but `chunks` and `parent`, as JSON values; see `Manifest` for each."""
    return {
        "job": job.name,
        "step": step,
        "epoch": epoch,
        "samples": samples,
        "seed": job.seed,
        "virtual_ranks": job.virtual_ranks,
        "batch_size": job.batch_size,
        "max_grad_norm": job.max_grad_norm,
        "numerics": str(job.numerics),
        "data": {"train": describe_source(job.train), "evaluation": describe_source(job.evaluation)},
        "fingerprint": dict(fingerprint),
        "left_out": sorted([each.block, each.step] for each in left_out if each.step <= step),
        "init_from": describe_init(job.init_from),
        "freeze": sorted(set(job.freeze)),
        "recipe": job.recipe,
        "sources": describe_sources(job),
        "params": dict(job.params),
        "scalars": dict(scalars),
        "tensors": {key: asdict(spec) for key, spec in specs.items()},
        "state_digest": state_digest,
    }


def describe_sources(job: TrainJob) -> dict[str, Json]:
    """What identifies the recipe's code, as far as it comes with the job."""
    return {path: hashlib.sha256(text).hexdigest() for path, text in job.sources.items()}


def describe_init(start: InitFrom | None) -> dict[str, Json] | None:
    """What the initial state is made of, as `read_init` reads it."""
    if start is None:
        return None
    tensors = None if start.tensors is None else sorted(set(start.tensors))
    return {**asdict(start), "tensors": tensors, "rename": dict(start.rename)}


def read_init(described: Mapping[str, Json] | None) -> InitFrom | None:
    """The inverse of `describe_init`."""
    if described is None:
        return None
    tensors = described["tensors"]
    return InitFrom(**{**described, "tensors": None if tensors is None else tuple(tensors)})


def describe_source(source: DataSource | DataMixture | None) -> dict[str, Json] | None:
    """What identifies a data set or a mixture and its order, wherever it is stored."""
    if source is None:
        return None
    if isinstance(source, DataMixture):
        mix = [
            {**(describe_source(part) or {}), "weight": weight}
            for part, weight in zip(source.sources, source.weights, strict=True)
        ]
        return {"mix": mix, "epoch_end": source.epoch_end}
    described = {
        "digest": source.manifest_digest,
        "rows": source.rows,
        "window_blocks": source.window_blocks,
    }
    return described if source.packing is None else {**described, "packing": asdict(source.packing)}
