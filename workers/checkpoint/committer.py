"""The one writer of a job's manifests: links each checkpoint to the one before and clears away old ones."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from workers.checkpoint.manifest import Manifest
from workers.checkpoint.retention import prune, sweep
from workers.checkpoint.save import commit
from workers.errors import LockstepError
from workers.storage import Store

Json = Any


class Committer:
    """Commits the checkpoints of one run, in order.

    Make it before any worker saves: it first sweeps what killed runs have left behind, unless told not to.

    Args:
        store: the job's checkpoint folder.
        parent: the checkpoint that the run goes on from, if any.
        keep: how many of the newest checkpoints stay.
        sidecar: what to note beside each checkpoint about this run (workers, hosts).
        tidy: False where somebody may be saving at this moment.
    """

    def __init__(
        self,
        store: Store,
        *,
        parent: Manifest | None,
        keep: int,
        sidecar: Mapping[str, Json] | None = None,
        tidy: bool = True,
    ) -> None:
        self._store, self._keep, self._sidecar = store, keep, sidecar
        self.newest = parent
        if tidy:
            with suppress(LockstepError):  # nothing is lost if it must stay until the next run
                sweep(store)

    def commit(self, draft: Mapping[str, Json], chunks: Mapping[int, Json]) -> Manifest:
        """Write the manifest of a checkpoint whose chunks are all durable, then drop what is too old.

        Raises:
            CheckpointError, AccessError, UnreachableError: see `workers.checkpoint.save.commit`.
        """
        self.newest = commit(self._store, draft, chunks, parent=self.newest, sidecar=self._sidecar)
        with suppress(LockstepError):  # what could not be removed now is removed after the next commit
            prune(self._store, self._keep)
        return self.newest
