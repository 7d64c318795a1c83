"""The one writer of a job's manifests: links each checkpoint to the one before and clears away old ones."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from workers.checkpoint.catalogue import Catalogue
from workers.checkpoint.lineage import Ancestors, ancestors
from workers.checkpoint.manifest import Manifest
from workers.checkpoint.policy import Metrics, Retention
from workers.checkpoint.retention import GRACE_SECONDS, prune, sweep
from workers.checkpoint.save import commit
from workers.checkpoint.sidecar import finite
from workers.errors import LockstepError
from workers.storage import Store

Json = Any


class Committer:
    """Commits the checkpoints of one run, in order.

    Make it before any worker saves: it first sweeps what killed runs have left behind, unless told not to.

    Args:
        store: the job's checkpoint folder.
        parent: the checkpoint that the run goes on from, if any.
        keep: which checkpoints stay.
        sidecar: what to note beside each checkpoint about this run (workers, hosts).
        tidy: False where workers of this job may be saving at this moment.
        grace_seconds: what others who share the folder have written less long ago is not swept.
    """

    def __init__(
        self,
        store: Store,
        *,
        parent: Manifest | None,
        keep: Retention,
        sidecar: Mapping[str, Json] | None = None,
        tidy: bool = True,
        grace_seconds: float = GRACE_SECONDS,
    ) -> None:
        self._store, self._keep, self._sidecar = store, keep, sidecar or {}
        self._catalogue = Catalogue(store)
        self._known: tuple[Manifest | None, Ancestors] = None, Ancestors()
        self.newest = parent
        if tidy:
            with suppress(LockstepError):  # nothing is lost if it must stay until the next run
                sweep(store, grace_seconds=grace_seconds)

    def commit(
        self, draft: Mapping[str, Json], chunks: Mapping[int, Json], metrics: Metrics | None = None
    ) -> Manifest:
        """Write the manifest of a checkpoint whose chunks are all durable, then drop what need not stay.

        Args:
            draft, chunks: see `workers.checkpoint.save.commit`.
            metrics: what the evaluation after this step gave, if there was one.

        Raises:
            CheckpointError, AccessError, UnreachableError: see `workers.checkpoint.save.commit`.
        """
        before = self._ancestors()
        noted = {**self._sidecar, "ancestors": before.json()}
        if metrics is not None:
            noted["metrics"] = finite(metrics)
        stored = self._catalogue.chunks()
        sizes = {info.name: info.size for info in stored.values()}
        manifest = commit(self._store, draft, chunks, parent=self.newest, sidecar=noted, sizes=sizes)
        if manifest.parent == (before.names[0] if before.names else None):
            self._known = manifest, before
        self.newest = manifest
        with suppress(LockstepError):  # what could not be removed now is removed after the next commit
            prune(self._store, self._keep, catalogue=self._catalogue, chunks=stored)
        return self.newest

    def _ancestors(self) -> Ancestors:
        """Of the next checkpoint."""
        if self.newest is None:
            return Ancestors(whole=True)
        known, before = self._known
        if known is not self.newest:
            before = Ancestors()
            with suppress(LockstepError):  # a checkpoint without their names is as good
                before = ancestors(self._store, self.newest)
        return before.child_of(self.newest)
