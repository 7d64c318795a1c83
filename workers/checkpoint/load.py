"""Reading checkpoints: which exist, which can be trusted, and their tensors. Every byte is verified."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from difflib import get_close_matches

from workers.checkpoint.layout import Piece
from workers.checkpoint.manifest import Manifest
from workers.checkpoint.objects import (
    CHUNKS,
    MANIFESTS,
    chunk_name,
    damaged,
    in_parallel,
    manifest_name,
    read_chunk,
    step_of,
)
from workers.checkpoint.tensors import RawTensor
from workers.digest import digest_of_sorted
from workers.errors import CheckpointError
from workers.storage import NotFound, Store


def history(store: Store) -> list[int]:
    """The steps that were committed, ascending; whether they can be read is not asked."""
    steps = (step_of(info.name) for info in store.list(MANIFESTS))
    return sorted(step for step in steps if step is not None)


def read_manifest(store: Store, step: int) -> Manifest:
    """The manifest of one step.

    Raises:
        CheckpointError: there is none, or it was altered.
    """
    name = manifest_name(step)
    try:
        manifest = Manifest.parse(store.get(name), where=store.url(name))
    except NotFound:
        there = ", ".join(map(str, history(store))) or "none"
        raise CheckpointError(
            f"there is no checkpoint of step {step}", where=store.uri, fix=f"choose one of: {there}"
        ) from None
    if manifest.step != step:
        raise CheckpointError(f"this is the manifest of step {manifest.step}", where=store.url(name))
    return manifest


def newest(store: Store, *, before: int | None = None) -> tuple[Manifest | None, list[CheckpointError]]:
    """The newest checkpoint whose manifest is intact and whose chunks are all there in their full size.

    What chunks hold is verified when they are read. If that fails, ask again with `before`.

    Args:
        store: a job's checkpoint folder.
        before: only steps below this one.

    Returns:
        The manifest, or None if there is none; and why each newer one was passed over.
    """
    passed: list[CheckpointError] = []
    sizes = chunk_sizes(store)
    for step in reversed(history(store)):
        if before is not None and step >= before:
            continue
        try:
            manifest = read_manifest(store, step)
            check_present(store, manifest, sizes)
        except CheckpointError as error:
            passed.append(error)
        else:
            return manifest, passed
    return None, passed


def chunk_sizes(store: Store) -> dict[str, int]:
    """Bytes of every chunk object that is stored, by name."""
    return {info.name: info.size for info in store.list(CHUNKS)}


def check_present(store: Store, manifest: Manifest, sizes: Mapping[str, int]) -> None:
    """Check that every chunk is stored in its full size.

    Raises:
        CheckpointError: the first that is not.
    """
    for record in manifest.chunks:
        size = sizes.get(chunk_name(record.sha256))
        if size != record.size:
            problem = "is missing" if size is None else f"has {size} bytes instead of {record.size}"
            raise damaged(store, manifest, record, problem)


def verify(store: Store, manifest: Manifest) -> list[CheckpointError]:
    """Everything that is wrong with a checkpoint: hashes all chunks, then the state that they make up.

    Reads the state twice; needs memory for a few chunks and the largest tensor.
    """

    def problem_of(number: int) -> CheckpointError | None:
        try:
            read_chunk(store, manifest, number)
        except CheckpointError as error:
            return error
        return None

    problems = [p for p in in_parallel(problem_of, range(len(manifest.chunks))) if p]
    if not problems and digest_of_sorted(iter_tensors(store, manifest)) != manifest.state_digest:
        what = f"the chunks are intact, but do not make up the state of step {manifest.step}"
        problems.append(CheckpointError(what, where=store.url(manifest_name(manifest.step))))
    return problems


def read_tensors(store: Store, manifest: Manifest, keys: Iterable[str] | None = None) -> dict[str, RawTensor]:
    """Tensors by key, each chunk fetched once and verified.

    Args:
        store: the checkpoint folder.
        manifest: which checkpoint.
        keys: which tensors; all of them if not given.

    Raises:
        CheckpointError: a chunk is missing or altered, or there is no such tensor.
    """
    wanted = _checked(manifest, keys)
    numbers = [n for n, chunk in enumerate(manifest.chunks) if any(p.key in wanted for p in chunk.pieces)]
    parts: dict[str, list[tuple[Piece, memoryview]]] = defaultdict(list)
    for pieces in in_parallel(lambda number: read_chunk(store, manifest, number), numbers):
        for piece, data in pieces:
            parts[piece.key].append((piece, data))
    return {key: _join(manifest, key, parts.pop(key)) for key in sorted(wanted)}


def iter_tensors(
    store: Store, manifest: Manifest, keys: Iterable[str] | None = None
) -> Iterator[tuple[str, RawTensor]]:
    """The same, one tensor after the other in the order of their keys, each chunk fetched once.

    Frozen and trained chunks each follow that order, so one chunk of either kind and one tensor are all
    that is in memory at a time.
    """
    homes = _homes(manifest)
    held: dict[bool, tuple[int, dict[str, tuple[Piece, memoryview]]]] = {}

    def part(key: str, number: int) -> tuple[Piece, memoryview]:
        frozen = manifest.tensors[key].frozen
        if frozen not in held or held[frozen][0] != number:
            held.pop(frozen, None)
            held[frozen] = number, {p.key: (p, data) for p, data in read_chunk(store, manifest, number)}
        return held[frozen][1][key]

    for key in sorted(_checked(manifest, keys)):
        yield key, _join(manifest, key, [part(key, number) for number in homes[key]])


def iter_pieces(
    store: Store, manifest: Manifest, keys: Iterable[str] | None = None
) -> Iterator[tuple[Piece, memoryview]]:
    """Tensors in pieces, one tensor after the other, each from its first element to its last.

    Frozen tensors come first, then the others, by key: as chunks hold them, so one chunk is all that is in
    memory at a time.
    """
    homes = _homes(manifest)
    held: tuple[int, dict[str, tuple[Piece, memoryview]]] = -1, {}
    for key in sorted(_checked(manifest, keys), key=lambda key: (not manifest.tensors[key].frozen, key)):
        for number in homes[key]:
            if held[0] != number:
                held = -1, {}  # let go of before the next is fetched
                held = number, {p.key: (p, data) for p, data in read_chunk(store, manifest, number)}
            yield held[1][key]


def restore(
    store: Store, *, before: int | None = None
) -> tuple[Manifest, dict[str, RawTensor], list[CheckpointError]]:
    """The newest checkpoint that verifies to the last byte, else the one before, and so on.

    Returns:
        Its manifest, its tensors, and what was wrong with each newer one that was passed over.

    Raises:
        CheckpointError: none can be restored.
    """
    notes: list[CheckpointError] = []
    while True:
        manifest, passed = newest(store, before=before)
        notes += passed
        if manifest is None:
            raise _nothing_left(store, notes)
        try:
            return manifest, read_tensors(store, manifest), notes
        except CheckpointError as error:
            notes.append(error)
            before = manifest.step


def _nothing_left(store: Store, notes: list[CheckpointError]) -> CheckpointError:
    if not notes:
        return CheckpointError("there is no checkpoint here", where=store.uri, fix="start without --resume")
    found = "; ".join(f"{note.where}: {note.what}" for note in notes)
    return CheckpointError(f"no checkpoint here can be restored: {found}", where=store.uri)


def _checked(manifest: Manifest, keys: Iterable[str] | None) -> set[str]:
    wanted = set(manifest.tensors if keys is None else keys)
    for key in sorted(wanted - manifest.tensors.keys()):
        near = get_close_matches(key, manifest.tensors, n=1)
        raise CheckpointError(
            f"step {manifest.step} has no tensor {key}", fix=f"did you mean {near[0]}?" if near else None
        )
    return wanted


def _homes(manifest: Manifest) -> dict[str, list[int]]:
    """The chunks that hold a tensor, in the order of its elements."""
    homes: dict[str, list[tuple[int, int]]] = defaultdict(list)
    for number, chunk in enumerate(manifest.chunks):
        for piece in chunk.pieces:
            homes[piece.key].append((piece.start, number))
    return {key: [number for _, number in sorted(found)] for key, found in homes.items()}


def _join(manifest: Manifest, key: str, parts: list[tuple[Piece, memoryview]]) -> RawTensor:
    spec = manifest.tensors[key]
    ordered = [data for _, data in sorted(parts, key=lambda part: part[0])]
    data = ordered[0] if len(ordered) == 1 else memoryview(b"".join(ordered))
    return RawTensor(dtype=spec.dtype, shape=spec.shape, data=data)
