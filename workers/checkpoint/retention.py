"""Which checkpoints to keep, and what may then go."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from workers.checkpoint.load import check_present, chunk_sizes, history, read_manifest
from workers.checkpoint.manifest import Manifest
from workers.checkpoint.objects import manifest_name, sha256_of, sidecar_name
from workers.errors import CheckpointError
from workers.storage import Store


@dataclass(frozen=True, kw_only=True)
class Pruned:
    """What was removed: steps, how many chunks, and their bytes."""

    steps: tuple[int, ...] = ()
    chunks: int = 0
    freed_bytes: int = 0


def prune(store: Store, keep: int, *, protect: Collection[str] = ()) -> Pruned:
    """Keep the newest `keep` checkpoints that can be restored and remove all that are older.

    Manifests go first, then every chunk that no remaining manifest names (mark and sweep), so that being
    killed in between leaves only chunks that the next call sweeps. If a remaining manifest cannot be read,
    nobody knows what it names: nothing is swept.

    One caller at a time, and never while workers write chunks that are not in `protect`.

    Args:
        store: the job's checkpoint folder.
        keep: how many; at least 1.
        protect: hashes of chunks of a save in flight.
    """
    if keep < 1:
        raise ValueError("keep at least one checkpoint")
    sizes = chunk_sizes(store)
    steps = history(store)
    manifests = {step: manifest for step in steps if (manifest := _readable(store, step))}
    sound = [step for step in sorted(manifests) if _is_present(store, manifests[step], sizes)]
    oldest = sound[-keep] if len(sound) >= keep else 0
    removed = tuple(step for step in steps if step < oldest)
    for step in removed:
        store.delete([manifest_name(step), sidecar_name(step)])
    remaining = [step for step in steps if step >= oldest]
    if any(step not in manifests for step in remaining):
        return Pruned(steps=removed)
    named = {record.sha256 for step in remaining for record in manifests[step].chunks} | set(protect)
    swept = [name for name in sizes if (sha256 := sha256_of(name)) and sha256 not in named]
    store.delete(swept)
    return Pruned(steps=removed, chunks=len(swept), freed_bytes=sum(sizes[name] for name in swept))


def _readable(store: Store, step: int) -> Manifest | None:
    try:
        return read_manifest(store, step)
    except CheckpointError:
        return None


def _is_present(store: Store, manifest: Manifest, sizes: dict[str, int]) -> bool:
    try:
        check_present(store, manifest, sizes)
    except CheckpointError:
        return False
    return True
