"""Which checkpoints to keep, and what may then go.

Workers write the chunks of the next save while the manifest of this one is still being committed, and no
manifest names theirs yet. So while a job runs, `prune` removes only chunks that it knows to be old: those
that the removed manifests named and no other does. What killed saves left behind is for `sweep`, which looks
at everything and therefore belongs where nothing is being saved: before a run begins.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

from workers.checkpoint.load import check_present, chunk_sizes, history, read_manifest
from workers.checkpoint.manifest import Manifest
from workers.checkpoint.objects import FOLDERS, LATEST, chunk_name, manifest_name, sha256_of, sidecar_name
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

    Manifests go first, then the chunks that only they named. Safe while the job saves; one caller at a time.
    If a remaining manifest cannot be read, nobody knows what it names: no chunk is removed.

    Args:
        store: the job's checkpoint folder.
        keep: how many; at least 1.
        protect: hashes of chunks that stay in any case.
    """
    if keep < 1:
        raise ValueError("keep at least one checkpoint")
    sizes, manifests = chunk_sizes(store), _manifests(store)
    sound = [step for step, manifest in manifests.items() if _is_present(store, manifest, sizes)]
    oldest = sound[-keep] if len(sound) >= keep else 0
    removed = tuple(step for step in manifests if step < oldest)
    for step in removed:
        store.delete([manifest_name(step), sidecar_name(step)])
    old = _named(manifest for step, manifest in manifests.items() if step < oldest)
    remaining = [manifest for step, manifest in manifests.items() if step >= oldest]
    chunks, freed_bytes = _remove(store, old, remaining, protect, sizes)
    return Pruned(steps=removed, chunks=chunks, freed_bytes=freed_bytes)


def sweep(store: Store, *, protect: Collection[str] = ()) -> Pruned:
    """Remove unfinished files, and every chunk that no manifest names. Never while anybody saves here.

    If a manifest cannot be read, no chunk is removed.
    """
    store.remove_unfinished()
    sizes = chunk_sizes(store)
    stored = {sha256 for name in sizes if (sha256 := sha256_of(name))}
    chunks, freed_bytes = _remove(store, stored, _manifests(store).values(), protect, sizes)
    return Pruned(chunks=chunks, freed_bytes=freed_bytes)


def _remove(
    store: Store,
    candidates: set[str],
    remaining: Iterable[Manifest | None],
    protect: Collection[str],
    sizes: Mapping[str, int],
) -> tuple[int, int]:
    remaining = list(remaining)
    if None in remaining:
        return 0, 0
    unnamed = candidates - _named(remaining) - set(protect)
    names = [name for sha256 in sorted(unnamed) if (name := chunk_name(sha256)) in sizes]
    store.delete(names)
    return len(names), sum(sizes[name] for name in names)


def _manifests(store: Store) -> dict[int, Manifest | None]:
    """All manifests by step, ascending; None for one that cannot be read."""
    return {step: _readable(store, step) for step in history(store)}


def _named(manifests: Iterable[Manifest | None]) -> set[str]:
    return {record.sha256 for manifest in manifests if manifest for record in manifest.chunks}


def erase(store: Store) -> None:
    """Remove every checkpoint, manifests first, so that being killed in between leaves nothing half there."""
    store.delete([manifest_name(step) for step in history(store)])
    leftovers = [object.name for folder in FOLDERS for object in store.list(folder)]
    store.delete([*leftovers, LATEST])
    store.remove_unfinished()


def _readable(store: Store, step: int) -> Manifest | None:
    try:
        return read_manifest(store, step)
    except CheckpointError:
        return None


def _is_present(store: Store, manifest: Manifest | None, sizes: Mapping[str, int]) -> bool:
    if manifest is None:
        return False
    try:
        check_present(store, manifest, sizes)
    except CheckpointError:
        return False
    return True
