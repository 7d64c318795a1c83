"""What a job's folder holds, of each checkpoint only as much as retention asks for, and read only once."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from workers.checkpoint.load import read_manifest
from workers.checkpoint.objects import CHUNKS, MANIFESTS, sha256_of, step_of
from workers.checkpoint.policy import Metrics
from workers.checkpoint.sidecar import metrics_of, read_sidecar
from workers.errors import CheckpointError
from workers.storage import ObjectInfo, Store


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One checkpoint.

    Attributes:
        chunks: bytes of each by SHA-256; None if the manifest cannot be read.
    """

    chunks: Mapping[str, int] | None

    def is_sound(self, stored: Mapping[str, ObjectInfo]) -> bool:
        """Whether its manifest is intact and its chunks are stored in their full size."""
        if self.chunks is None:
            return False
        return all(sha256 in stored and stored[sha256].size == size for sha256, size in self.chunks.items())


class Catalogue:
    """Manifests never change, so those that were read before are not read again.

    Args:
        store: a job's checkpoint folder.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._known: dict[ObjectInfo, Entry] = {}
        self._metrics: dict[int, Metrics] = {}

    def chunks(self) -> dict[str, ObjectInfo]:
        """The chunks that are stored, by SHA-256. Ask before `entries`: then these name all that they can."""
        listed = ((sha256_of(info.name), info) for info in self._store.list(CHUNKS))
        return {sha256: info for sha256, info in listed if sha256 is not None}

    def entries(self) -> dict[int, Entry]:
        """All checkpoints by step, ascending."""
        listed = {
            step: info for info in self._store.list(MANIFESTS) if (step := step_of(info.name)) is not None
        }
        found = {step: self._known.get(info) or self._read(step) for step, info in sorted(listed.items())}
        self._known = {listed[step]: entry for step, entry in found.items() if entry.chunks is not None}
        return found

    def metrics(self, steps: Collection[int]) -> dict[int, Metrics]:
        """What is known of the evaluation after each of these steps."""
        found = dict(self._metrics)
        for step in steps:
            if step not in found:
                found[step] = metrics_of(read_sidecar(self._store, step))
        found = {step: found[step] for step in steps}
        newest = max(found, default=None)  # its sidecar may still be on its way
        self._metrics = {step: metrics for step, metrics in found.items() if metrics or step != newest}
        return found

    def _read(self, step: int) -> Entry:
        try:
            manifest = read_manifest(self._store, step)
        except CheckpointError:
            return Entry(chunks=None)
        return Entry(chunks={record.sha256: record.size for record in manifest.chunks})
