"""A job's checkpoints as its supervisor sees them: manifests to write, and the newest one that is intact."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from orchestrator.gang.commands import Commit
from workers.checkpoint.committer import Committer
from workers.checkpoint.load import history, newest, read_manifest, verify
from workers.checkpoint.manifest import Manifest
from workers.checkpoint.policy import Metrics, Retention
from workers.errors import CheckpointError
from workers.protocol import Evaluated, LeftOut
from workers.storage import Store


class JobCheckpoints:
    """The only writer of a job's manifests; see `orchestrator.supervisor.Checkpointing`.

    It is one of the supervisor's observers too: what an evaluation gave is noted beside the checkpoint of its
    step, where retention finds it again.

    Args:
        uri: the job's checkpoint folder; None for a job that saves nothing.
        resume_step: the checkpoint that the job goes on from, if any.
        keep: which checkpoints stay.
        sidecar: what to note beside each checkpoint about this run.
        workers_at_work: somebody may be saving at this moment, so what nobody refers to is left alone.
    """

    def __init__(
        self,
        uri: str | None,
        *,
        resume_step: int | None,
        keep: Retention,
        sidecar: Mapping[str, Any],
        workers_at_work: bool = False,
    ) -> None:
        self._store = Store(uri) if uri is not None else None
        self._keep, self._sidecar = keep, sidecar
        self._evaluated: dict[int, Metrics] = {}  # by step, those that are not committed yet
        if self._store is not None:
            if workers_at_work:
                parent, _ = newest(self._store)
            else:
                parent = read_manifest(self._store, resume_step) if resume_step is not None else None
            self._committer = self._committer_after(self._store, parent, tidy=not workers_at_work)

    @property
    def newest_step(self) -> int | None:
        """The checkpoint that the next one follows."""
        if self._store is None or self._committer.newest is None:
            return None
        return self._committer.newest.step

    @property
    def left_out(self) -> tuple[LeftOut, ...]:
        """Damaged blocks that this checkpoint was trained without."""
        if self._store is None or self._committer.newest is None:
            return ()
        return self._committer.newest.left_out

    def commit(self, command: Commit) -> None:
        """See `orchestrator.supervisor.Checkpointing.commit`."""
        if self._store is not None:
            self._committer.commit(command.draft, command.chunks, self._evaluated.get(command.step))
            for step in [step for step in list(self._evaluated) if step <= command.step]:
                del self._evaluated[step]

    def happened(self, what: object) -> None:
        """See `orchestrator.supervisor.Observer`. Workers evaluate a step before they save it."""
        if isinstance(what, Evaluated) and self._store is not None:
            self._evaluated[what.step] = what.metrics

    def recall(self) -> int | None:
        """See `orchestrator.supervisor.Checkpointing.recall`."""
        if self._store is None or not history(self._store):
            return None
        manifest, _ = newest_intact(self._store)
        self._committer = self._committer_after(self._store, manifest, tidy=False)
        return manifest.step

    def _committer_after(self, store: Store, parent: Manifest | None, *, tidy: bool) -> Committer:
        return Committer(store, parent=parent, keep=self._keep, sidecar=self._sidecar, tidy=tidy)


def newest_intact(store: Store) -> tuple[Manifest, list[str]]:
    """The newest checkpoint whose every byte verifies, and what is wrong with newer ones.

    Raises:
        CheckpointError: there is none.
    """
    found: list[CheckpointError] = []
    before: int | None = None
    while True:
        manifest, passed = newest(store, before=before)
        found += passed
        if manifest is None:
            problems = "".join(f"\n  {problem.where}: {problem.what}" for problem in found)
            fix = "start over with --fresh, or choose another name"
            raise CheckpointError(f"no checkpoint can be restored:{problems}", where=store.uri, fix=fix)
        damage = verify(store, manifest)
        if not damage:
            return manifest, [str(problem) for problem in found]
        found += damage
        before = manifest.step
