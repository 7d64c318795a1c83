"""Between a replica and its checkpoints: what one worker writes of a save, and how it takes a state over.

Training stands still while buffers are copied, and whatever else a forward pass may change. Parameters, and
what the optimizer keeps of them, are copied while the next step is computed; it waits before its update. All
else is done behind the training.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from typing import Any

from workers.checkpoint.compatibility import JobFacts, check_resume
from workers.checkpoint.draft import draft_manifest
from workers.checkpoint.load import read_manifest
from workers.checkpoint.tensors import TensorSpec
from workers.data.schedule import Steps
from workers.numerics.environment import fingerprint
from workers.numerics.exchange import Exchange, PeerLost
from workers.orders import Orders
from workers.protocol import LeftOut, Membership, Saved, SaveFailing, TrainJob
from workers.reporter import Reporter
from workers.storage import Store
from workers.training.behind import SaveBehind
from workers.training.replica import Replica
from workers.training.restoring import read_together
from workers.training.share import Share
from workers.training.staging import Staging
from workers.training.step import Team

_LAST_SAVE_SECONDS = 30.0


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
        self._last_save, self._left_out = 0, tuple[LeftOut, ...]()
        self._store = Store(job.checkpoint_uri) if job.checkpoint_uri is not None else None
        self._intact: set[str] = set()
        self._staging = Staging(pinned=job.device == "cuda")
        self._behind: SaveBehind | None = None
        self._saved_at = time.monotonic()

    @property
    def wanted(self) -> bool:
        """Whether the job saves at all."""
        return self._store is not None

    @property
    def is_busy(self) -> bool:
        """Whether the save before is still on its way, here or to its commit."""
        on_its_way = self._behind is not None and not self._behind.is_over
        return on_its_way or not self._orders.is_committed(self._last_save)

    @property
    def is_overdue(self) -> bool:
        """Whether somebody has asked for a checkpoint, or the job saves by the clock and it is time."""
        every = self._job.checkpoint_seconds
        is_time = every is not None and time.monotonic() - self._saved_at > every
        return self.wanted and (is_time or self._orders.wants_save(self._last_save))

    def restore(self, step: int, exchange: Exchange) -> None:
        """Take over the state of a committed checkpoint, which all members read together.

        Raises:
            CheckpointError: it is damaged, or another job's, or was written in another environment.
            PeerLost: a member is gone, or cannot read its share.
        """
        if self._store is None:
            raise RuntimeError("a job without checkpoints cannot resume")
        manifest = read_manifest(self._store, step)
        check_resume(manifest, JobFacts.of(self._job, self._fingerprint()))
        tensors = read_together(exchange, self._store, manifest)
        self._replica.adopt(tensors, manifest.scalars, step, own=True)
        self._intact = {chunk.sha256 for chunk in manifest.chunks}

    def begin(self, membership: Membership) -> None:
        """A generation begins: a save that is on its way, or later than its `saved_step`, is given up."""
        if self._behind is not None:
            self._behind.give_up()
        self.settle()
        self._last_save, self._left_out = membership.saved_step, membership.left_out

    def settle(self) -> None:
        """Return when the replica's state may change."""
        if self._behind is not None:
            self._behind.wait_copied()

    def save(self, team: Team, generation: int, reporter: Reporter) -> None:
        """Copy the replica's state as it is now, as soon as the save before is committed.

        This worker's chunks are written behind, and then reported; rank 0 adds the draft.

        Raises:
            PeerLost: there is a newer generation.
            AccessError, UnreachableError: the save before lost its patience with the store.
        """
        if self._store is None:
            return
        begin = time.perf_counter()
        self._orders.wait_for(lambda: self._has_failed or not self.is_busy, generation)
        self.check()
        rank, step = team.exchange.rank, self._replica.step
        share = Share(self._replica, self._staging, rank, team.exchange.world)
        share.copy()
        draft = self._draft(share.specs) if rank == 0 else None
        stalled = time.perf_counter() - begin
        report = partial(reporter.report, Saved, generation=generation, step=step, stalled_seconds=stalled)
        digests: list[str] = []

        def write() -> None:
            with ThreadPoolExecutor(1, thread_name_prefix="digest") as beside:
                digest = beside.submit(share.digest) if draft is not None and not digests else None
                written = share.write(store, self._intact, lambda: behind.is_given_up)
                if digest is not None:
                    digests.append(digest.result())
            self._intact = {record["sha256"] for record in written.records.values()}
            report(
                chunks=dict(written.records),
                draft=draft(digests[0]) if draft is not None else None,
                written_bytes=written.written_bytes,
                seconds=time.perf_counter() - begin,
            )

        store = self._store
        self._last_save, self._saved_at = step, time.monotonic()
        self._behind = behind = SaveBehind(
            copy=share.copy_rest,
            write=write,
            failing=lambda error: reporter.report(SaveFailing, step=step, message=str(error)),
            ended=self._orders.wake,
            patience=self._job.checkpoint_patience,
        )
        behind.start()

    def flush(self, generation: int) -> None:
        """Return when what this worker had to write is durable and reported.

        Raises:
            PeerLost: there is a newer generation.
            AccessError, UnreachableError: it lost its patience with the store.
        """
        self._orders.wait_for(lambda: self._behind is None or self._behind.is_over, generation)
        self.check()

    def see_through(self, generation: int) -> None:
        """Give a save that is on its way some time to be committed: this worker cannot go on."""
        with suppress(PeerLost):
            self._orders.wait_for(
                lambda: self._has_failed or not self.is_busy, generation, timeout=_LAST_SAVE_SECONDS
            )

    def check(self) -> None:
        """Raise what has ended a save that goes on behind, once."""
        behind = self._behind
        if behind is not None and behind.is_over:
            self._behind = None
            if behind.has_failed:
                self._last_save = 0  # nobody waits for its commit
            behind.check()

    @property
    def _has_failed(self) -> bool:
        return self._behind is not None and self._behind.has_failed

    def _draft(self, specs: Mapping[str, TensorSpec]) -> Callable[[str], Mapping[str, Any]]:
        """The draft of the state as it is now, as soon as its digest is known."""
        step = self._replica.step
        drafted = partial(
            draft_manifest,
            self._job,
            step=step,
            epoch=self._schedule.epoch(step - 1) if step else 0,
            samples=self._schedule.samples_before(step),
            fingerprint=self._fingerprint(),
            scalars=self._replica.scalars(),
            specs=specs,
            left_out=self._left_out,
        )
        return lambda digest: drafted(state_digest=digest)

    def _fingerprint(self) -> dict[str, Any]:
        return fingerprint(self._job.device, self._replica.optimizer)
