"""Between a replica and its checkpoints: what one worker writes of a save, and how it takes a state over."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from workers.checkpoint.compatibility import JobFacts, check_resume
from workers.checkpoint.draft import draft_manifest
from workers.checkpoint.layout import assign, plan_chunks
from workers.checkpoint.load import read_manifest, read_tensors
from workers.checkpoint.save import write_chunks
from workers.data.schedule import Steps
from workers.digest import state_digest
from workers.numerics.environment import fingerprint
from workers.orders import Orders
from workers.protocol import Membership, Saved, TrainJob
from workers.reporter import Reporter
from workers.storage import Store
from workers.training.replica import Replica
from workers.training.step import Team


class Checkpoints:
    """One worker's view of a job's checkpoints.

    Args:
        job: what is trained.
        replica: whose state is saved and restored.
        schedule: of the training data.
        orders: tell which saves the supervisor has committed. A save waits for the one before it, so at most
            one is in flight, and nothing is cleared away while workers count on it.
    """

    def __init__(self, job: TrainJob, replica: Replica, schedule: Steps, orders: Orders) -> None:
        self._job, self._replica, self._schedule, self._orders = job, replica, schedule, orders
        self._last_save = 0
        self._store = Store(job.checkpoint_uri) if job.checkpoint_uri is not None else None
        self._intact: frozenset[str] = frozenset()

    @property
    def wanted(self) -> bool:
        """Whether the job saves at all."""
        return self._store is not None

    def restore(self, step: int) -> None:
        """Take over the state of a committed checkpoint.

        Raises:
            CheckpointError: it is damaged, or another job's, or was written in another environment.
        """
        if self._store is None:
            raise RuntimeError("a job without checkpoints cannot resume")
        manifest = read_manifest(self._store, step)
        check_resume(manifest, JobFacts.of(self._job, self._fingerprint()))
        self._replica.adopt(read_tensors(self._store, manifest), manifest.scalars, step)
        self._intact = frozenset(chunk.sha256 for chunk in manifest.chunks)

    def begin(self, membership: Membership) -> None:
        """A generation begins: saves later than its `saved_step` are given up."""
        self._last_save = membership.saved_step

    def save(self, team: Team, generation: int, reporter: Reporter) -> None:
        """Write this worker's chunks of the replica's state and report them; rank 0 adds the draft.

        Raises:
            PeerLost: there is a newer generation.
            AccessError, UnreachableError: the store refused or is gone; what was written does no harm.
        """
        if self._store is None:
            return
        begin = time.perf_counter()
        self._orders.wait_committed(self._last_save, generation)
        self._last_save = self._replica.step
        exchange = team.exchange
        tensors = self._replica.raw()
        chunks = plan_chunks(self._replica.specs())
        numbers = assign(chunks, exchange.world)[exchange.rank]
        written = write_chunks(self._store, chunks, numbers, tensors, intact=self._intact)
        self._intact = frozenset(record["sha256"] for record in written.records.values())
        reporter.report(
            Saved,
            generation=generation,
            step=self._replica.step,
            chunks=dict(written.records),
            draft=self._draft(state_digest(tensors)) if exchange.rank == 0 else None,
            written_bytes=written.written_bytes,
            seconds=time.perf_counter() - begin,
        )

    def _draft(self, digest: str) -> Mapping[str, Any]:
        step = self._replica.step
        return draft_manifest(
            self._job,
            step=step,
            epoch=self._schedule.epoch(step - 1) if step else 0,
            samples=self._schedule.samples_before(step),
            fingerprint=self._fingerprint(),
            scalars=self._replica.scalars(),
            specs=self._replica.specs(),
            state_digest=digest,
        )

    def _fingerprint(self) -> dict[str, Any]:
        return fingerprint(self._job.device, self._replica.optimizer)
