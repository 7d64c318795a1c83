"""States, jobs and saves for tests of checkpoints: everything a worker does, without torch."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hypothesis import strategies as st

from workers.checkpoint.draft import draft_manifest
from workers.checkpoint.layout import assign, plan_chunks
from workers.checkpoint.manifest import Manifest
from workers.checkpoint.objects import chunk_name, cut_from
from workers.checkpoint.save import commit, write_chunks
from workers.checkpoint.tensors import ITEM_BYTES, RawTensor, TensorSpec
from workers.digest import state_digest
from workers.protocol import DataSource, TrainJob
from workers.storage import Store

SMALL_CHUNKS = 64  # bytes, so that tiny states are cut too

JOB = TrainJob(
    name="toy",
    recipe="recipe:Toy",
    params={"width": 8, "rates": [0.1, 1e-05]},
    sources={"recipe.py": b"class Toy: ..."},
    source_folder=None,
    seed=7,
    virtual_ranks=8,
    batch_size=64,
    steps=1000,
    train=DataSource(uri="file:///data", manifest_digest="cd" * 32, rows=1797),
)
FINGERPRINT = {"torch": "2.13.0", "threads": 1, "device": "cpu"}
SCALARS = {"schedule": {"last_epoch": 3}, "optimizer_groups": [{"lr": 0.1}], "optimizer_slots": {}}


def specs_strategy(max_tensors: int = 6) -> st.SearchStrategy[dict[str, TensorSpec]]:
    """States of any dtype and shape: scalars, empty tensors, tensors larger than a small chunk."""
    keys = st.from_regex(r"(model|optimizer|extra)/[a-zé.]{1,6}(/step)?", fullmatch=True)
    shapes = st.lists(st.integers(0, 6), max_size=3).map(tuple)
    spec = st.builds(
        TensorSpec, dtype=st.sampled_from(sorted(ITEM_BYTES)), shape=shapes, frozen=st.booleans()
    )
    return st.dictionaries(keys, spec, max_size=max_tensors)


def fill(specs: Mapping[str, TensorSpec], step: int = 0) -> dict[str, RawTensor]:
    """Bytes for each tensor: others at each step, but the same for ever where it is frozen."""
    return {key: raw(spec, f"{key} at {0 if spec.frozen else step}") for key, spec in specs.items()}


def raw(spec: TensorSpec, seed: str) -> RawTensor:
    """A tensor whose bytes follow from `seed`."""
    data = hashlib.shake_256(seed.encode()).digest(spec.nbytes)
    return RawTensor(dtype=spec.dtype, shape=spec.shape, data=memoryview(data))


def folder_store(folder: Path) -> Store:
    return Store(folder.absolute().as_uri())


def draft(specs: Mapping[str, TensorSpec], step: int, job: TrainJob = JOB) -> dict[str, Any]:
    """What rank 0 says about the state of `fill(specs, step)`."""
    return draft_manifest(
        job,
        step=step,
        epoch=step // 28,
        samples=step * job.batch_size,
        fingerprint=FINGERPRINT,
        scalars=SCALARS,
        specs=specs,
        state_digest=state_digest(fill(specs, step)),
    )


def save(
    store: Store,
    specs: Mapping[str, TensorSpec],
    step: int,
    parent: Manifest | None = None,
    world: int = 1,
    chunk_bytes: int = SMALL_CHUNKS,
) -> Manifest:
    """One whole save by `world` workers, of the state that `fill` gives for that step."""
    chunks = plan_chunks(specs, chunk_bytes)
    records: dict[int, Any] = {}
    for numbers in assign(chunks, world):
        records |= write_chunks(store, chunks, numbers, cut_from(fill(specs, step))).records
    return commit(store, draft(specs, step), records, parent)


def objects(folder: Path) -> dict[str, bytes]:
    """Every file of a checkpoint folder by its name."""
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def flip(path: Path, position: int) -> None:
    """Change one bit of a file."""
    data = bytearray(path.read_bytes())
    data[position % len(data)] ^= 1
    path.write_bytes(data)


def chunk_path(folder: Path, manifest: Manifest, number: int) -> Path:
    return folder / chunk_name(manifest.chunks[number].sha256)
