"""Writing a checkpoint in two phases: every worker its chunks, then the supervisor one manifest.

Killed at any point before the manifest is there, a save leaves nothing but chunks that no manifest names.
Chunks are named by their content and manifests are the same for any number of workers, so two attempts at
one step, at once or one after the other, write the same objects.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

from workers.checkpoint.layout import Chunk, Piece
from workers.checkpoint.load import check_present, chunk_sizes, verify
from workers.checkpoint.manifest import ChunkRecord, Manifest
from workers.checkpoint.objects import (
    LATEST,
    chunk_name,
    encode_chunk,
    in_parallel,
    manifest_name,
    sidecar_name,
)
from workers.checkpoint.tensors import RawTensor
from workers.errors import CheckpointError, LockstepError
from workers.storage import AlreadyExists, NotFound, Store

Json = Any


@dataclass(frozen=True, kw_only=True)
class Written:
    """What one worker wrote: each of its chunks' records by chunk number, and how many bytes that took."""

    records: Mapping[int, dict[str, Json]]
    written_bytes: int


class GivenUp(Exception):
    """Nobody wants this checkpoint any more."""


def write_chunks(
    store: Store,
    chunks: Sequence[Chunk],
    numbers: Sequence[int],
    data: Callable[[Piece], RawTensor],
    *,
    intact: set[str] | None = None,
    given_up: Callable[[], bool] = lambda: False,
) -> Written:
    """The first phase: make some chunks of a state durable.

    An object that is there and known to be good is not written again. Any other is, even if it is there:
    after falling back from an altered checkpoint, training makes the same chunks anew, and so mends them; and
    an old one that no manifest names becomes a new one, which no sweep removes.

    Args:
        store: the job's checkpoint folder.
        chunks: the plan for the whole state.
        numbers: which of them to write.
        data: the pieces that these chunks hold. They may not change until this returns.
        intact: hashes of chunks known to be good: those that the last save or restore has seen. What is
            written now is added.
        given_up: once it says so, no further chunk is begun.

    Raises:
        GivenUp: what was written stays, and does no harm.
        AccessError, UnreachableError: the store refused or is gone; what was written stays, and does no harm.
    """

    intact = set() if intact is None else intact

    def write(number: int) -> tuple[dict[str, Json], int]:
        if given_up():
            raise GivenUp
        parts = encode_chunk(chunks[number].pieces, data)
        digest = hashlib.sha256()
        for part in parts:
            digest.update(part)
        sha256, size = digest.hexdigest(), sum(map(len, parts))
        record = ChunkRecord(sha256=sha256, size=size, pieces=chunks[number].pieces).json()
        if sha256 in intact and _is_stored(store, sha256, size):
            return record, 0
        store.put(chunk_name(sha256), b"".join(parts))
        intact.add(sha256)
        return record, size

    done = list(in_parallel(write, numbers))
    return Written(
        records={number: record for number, (record, _) in zip(numbers, done, strict=True)},
        written_bytes=sum(size for _, size in done),
    )


def commit(
    store: Store,
    draft: Mapping[str, Json],
    chunks: Mapping[int, Mapping[str, Json]],
    parent: Manifest | None,
    *,
    sidecar: Mapping[str, Json] | None = None,
    sizes: Mapping[str, int] | None = None,
) -> Manifest:
    """The second phase, once every worker has acknowledged: the manifest's presence is the commit.

    Args:
        store: the job's checkpoint folder.
        draft: from rank 0, see `draft_manifest`.
        chunks: the records of all chunks by number, from all workers.
        parent: the checkpoint that training came from; None at the start of a job.
        sidecar: what varies between runs (time, workers, hosts), for people.
        sizes: of the chunks that are stored, by name, if the caller has just asked.

    Returns:
        The manifest that is committed now: ours, or an equal one of another attempt.

    Raises:
        CheckpointError: a chunk is not there, or the step was committed with another state.
        AccessError, UnreachableError: the store refused or is gone; asking again is safe.
    """
    manifest = Manifest.parse(Manifest.compose(draft, chunks, parent).to_bytes())
    check_present(store, manifest, chunk_sizes(store) if sizes is None else sizes)
    try:
        store.create(manifest_name(manifest.step), manifest.to_bytes())
    except AlreadyExists:
        manifest = _settle(store, manifest)
    with suppress(LockstepError):  # neither is ever needed
        store.put(sidecar_name(manifest.step), json.dumps(sidecar or {}, sort_keys=True).encode())
        store.put(LATEST, f"{manifest_name(manifest.step)}\n".encode())
    return manifest


def _is_stored(store: Store, sha256: str, size: int) -> bool:
    try:
        return store.head(chunk_name(sha256)).size == size
    except NotFound:
        return False


def _settle(store: Store, ours: Manifest) -> Manifest:
    """Somebody was first: keep theirs if it is the same state, replace it if it is damaged."""
    name = manifest_name(ours.step)
    data = store.get(name)
    try:
        theirs = Manifest.parse(data, where=store.url(name))
    except CheckpointError:
        theirs = None
    if theirs and replace(theirs, parent=ours.parent).to_bytes() == ours.to_bytes():
        return theirs  # perhaps by another way: a save in between that the other attempt did not make
    if theirs is None or verify(store, theirs):
        store.put(name, ours.to_bytes())
        return ours
    raise CheckpointError(
        f"step {ours.step} is committed already, with other {_differences(theirs, ours)}",
        where=store.url(name),
        fix="give each job a checkpoint folder of its own, or delete the checkpoints after the resumed one",
    )


def _differences(theirs: Manifest, ours: Manifest) -> str:
    a, b = theirs.json(), ours.json()
    return ", ".join(key for key in sorted(a) if a[key] != b[key] and key != "parent")
