"""Removes the checkpoints that need not stay, and what no checkpoint names.

Workers write the chunks of the next save while the manifest of this one is still being committed, and no
manifest names theirs yet. So chunks are removed for one of two reasons only. A removed manifest named them,
and no other does: these are known to be old. Or no manifest names them, and they are older than a grace
period: these are what killed saves left behind. A save that is on its way, in this or in another process, has
written its chunks less long ago.

How old is an object? The store's own clock says so (`store_time`): one that goes wrong here, on the machine
that happens to tidy up, must not make a save of a minute ago look old.
"""

from __future__ import annotations

import math
import time
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

from workers.checkpoint.catalogue import Catalogue, Entry
from workers.checkpoint.load import history
from workers.checkpoint.objects import CLOCK, FOLDERS, LATEST, manifest_name, sidecar_name
from workers.checkpoint.policy import Retention, staying
from workers.storage import ObjectInfo, Store

#: Longer than any save takes, and than anybody waits for a supervisor to come back and commit what its
#: workers have written. It costs little: a job that was killed in a save writes the very same chunks when it
#: goes on, and names them then.
GRACE_SECONDS = 24 * 3600.0


@dataclass(frozen=True, kw_only=True)
class Pruned:
    """What was removed, or would be.

    Attributes:
        steps: of checkpoints.
        chunks, freed_bytes: how many, and their size.
        unfinished: files that killed writers left.
        spared: chunks that no manifest names, but that are too young to go.
        unreadable: steps that stay and whose manifests cannot be read. If there are any, nobody knows what
            they name, and no chunk was removed.
    """

    steps: tuple[int, ...] = ()
    chunks: int = 0
    freed_bytes: int = 0
    unfinished: int = 0
    spared: int = 0
    unreadable: tuple[int, ...] = ()


def prune(
    store: Store,
    keep: Retention | None = None,
    *,
    grace_seconds: float | None = None,
    protect: Collection[str] = (),
    catalogue: Catalogue | None = None,
    chunks: Mapping[str, ObjectInfo] | None = None,
    dry_run: bool = False,
) -> Pruned:
    """Remove what need not stay: manifests first, then chunks.

    Safe while jobs save here, as long as their saves take less than the grace period. A chunk of a removed
    checkpoint goes at once, however young it is.

    Args:
        store: the job's checkpoint folder.
        keep: which checkpoints stay; all of them if not given.
        grace_seconds: remove chunks that no manifest names, and unfinished files, if they are at least so
            old; leave all of them alone if not given.
        protect: hashes of chunks that stay in any case.
        catalogue: of this store, if the caller has one.
        chunks: those that it listed a moment ago; what has come since is not looked at.
        dry_run: change nothing. This machine's clock then has to do.
    """
    catalogue = catalogue or Catalogue(store)
    chunks = catalogue.chunks() if chunks is None else chunks
    entries = catalogue.entries()
    before = -math.inf
    if grace_seconds is not None and (chunks or store.unfinished(before=math.inf)):
        before = (time.time() if dry_run else store_time(store)) - grace_seconds
    removed = _removed(keep, catalogue, chunks, entries)
    old = _named(entries[step] for step in removed)
    unfinished = len(store.unfinished(before=before)) if dry_run else store.remove_unfinished(before=before)
    if not dry_run:
        for step in removed:
            store.delete([manifest_name(step), sidecar_name(step)])
        entries = catalogue.entries()  # what was committed meanwhile counts
    remaining = {step: entry for step, entry in entries.items() if step not in removed}
    unnamed = chunks.keys() - _named(remaining.values()) - set(protect)
    young = {sha256 for sha256 in unnamed - old if chunks[sha256].modified > before}
    unreadable = tuple(step for step, entry in remaining.items() if entry.chunks is None)
    gone = [] if unreadable else [chunks[sha256] for sha256 in sorted(unnamed - young)]
    if not dry_run:
        store.delete([info.name for info in gone])
    return Pruned(
        steps=removed,
        chunks=len(gone),
        freed_bytes=sum(info.size for info in gone),
        unfinished=unfinished,
        spared=len(young) if grace_seconds is not None else 0,
        unreadable=unreadable,
    )


def sweep(
    store: Store,
    *,
    grace_seconds: float = GRACE_SECONDS,
    protect: Collection[str] = (),
    dry_run: bool = False,
) -> Pruned:
    """Remove what killed saves have left, if it is at least so old; checkpoints stay."""
    return prune(store, grace_seconds=grace_seconds, protect=protect, dry_run=dry_run)


def store_time(store: Store) -> float:
    """What time it is by the clock that dates the store's objects, in seconds since the epoch."""
    store.put(f"{CLOCK}/now", b"")
    return max(info.modified for info in store.list(CLOCK))


def erase(store: Store) -> None:
    """Remove every checkpoint, manifests first, so that being killed in between leaves nothing half there."""
    store.delete([manifest_name(step) for step in history(store)])
    leftovers = [object.name for folder in FOLDERS for object in store.list(folder)]
    store.delete([*leftovers, LATEST])
    store.remove_unfinished()


def _removed(
    keep: Retention | None,
    catalogue: Catalogue,
    chunks: Mapping[str, ObjectInfo],
    entries: Mapping[int, Entry],
) -> tuple[int, ...]:
    if keep is None:
        return ()
    sound = [step for step, entry in entries.items() if entry.is_sound(chunks)]
    metrics = catalogue.metrics(sound) if keep.best is not None else {}
    stays = staying(keep, entries, sound, metrics)
    return tuple(step for step in entries if step not in stays)


def _named(entries: Iterable[Entry]) -> set[str]:
    return {sha256 for entry in entries for sha256 in entry.chunks or ()}
