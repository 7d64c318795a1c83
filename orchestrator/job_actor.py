"""The supervisor as a Ray actor: it belongs to nobody, so it outlives whoever started it.

Ray starts it again where it died; it then finds the job's workers by name, and goes on with them.
"""

from __future__ import annotations

import threading
import time
import traceback
import uuid
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from queue import SimpleQueue
from typing import Any

import ray

from clusters.types import Resources
from orchestrator.checkpointing import JobCheckpoints
from orchestrator.crew.ray_crew import RayCrew
from orchestrator.exit_codes import FAILED
from orchestrator.gang import Outcome, Policy
from orchestrator.gang.events import GangEvent, Resize, SaveNow, Wish
from orchestrator.records.bookkeeper import Bookkeeper
from orchestrator.records.facts import Checkpoint
from orchestrator.records.news import News
from orchestrator.records.scoreboard import Scoreboard
from orchestrator.records.steplog import Entry
from orchestrator.records.timeline import Timeline
from orchestrator.supervisor import Happening, Supervisor, Work
from workers.errors import LockstepError
from workers.protocol import Fault, TrainJob

#: A job that nobody follows can still be asked about for so long after its end.
LINGER_SECONDS = 600.0


@dataclass(frozen=True, kw_only=True)
class Assignment:
    """All that a supervisor is told, also one that has to start again.

    Attributes:
        job: what to train.
        run: tells this run from earlier ones of the same job.
        namespace: Ray's name space for all of it.
        policy: how patient to be with workers.
        workers: how many it should have, and
        places: how many of them on each node; None where the cluster chooses.
        number: of the order that says so; see `Resize`.
        tag: tells a server's supervisors of one job apart, and from that of `lockstep run`. One that has a
        tag
            is there until it is dismissed.
        each: the resources of one worker.
        standby: keep processes ready that can replace workers.
        resume_step: the checkpoint to go on from, if any.
        notes: what whoever started the job should know.
        submitted: seconds since the epoch.
        phases, since: the start so far; see `Timeline`.
        metrics_address: where the job's metrics can be scraped.
        sidecar: what to note beside each checkpoint about this run.
    """

    job: TrainJob
    run: str
    namespace: str
    policy: Policy
    workers: int
    each: Resources
    standby: bool
    resume_step: int | None
    notes: tuple[str, ...]
    submitted: float
    phases: Mapping[str, float]
    since: float
    metrics_address: str | None = None
    sidecar: Mapping[str, Any] = field(default_factory=dict)
    places: Mapping[str, int] | None = None
    number: int = 0
    tag: str | None = None

    @property
    def actor(self) -> str:
        """The supervisor's name in Ray."""
        return actor_name(self.job.name, self.tag)


def actor_name(job: str, tag: str | None = None) -> str:
    """The name of a job's supervisor in Ray; see `Assignment.tag`."""
    return f"{job}/supervisor" if tag is None else f"{job}/{tag}/supervisor"


@ray.remote(num_cpus=0, max_restarts=-1, max_task_retries=0)
class JobActor:
    """One job's supervisor."""

    def __init__(self, assignment: Assignment) -> None:
        self._assignment = assignment
        self._incarnation = uuid.uuid4().hex
        self._history: list[Entry] = []
        self._changed = threading.Condition()
        self._outcome: Outcome | None = None
        checkpoint = None
        if assignment.job.checkpoint_uri is not None and assignment.resume_step is not None:
            checkpoint = Checkpoint(uri=assignment.job.checkpoint_uri, step=assignment.resume_step)
        self._board = Scoreboard(assignment.job, assignment.submitted, checkpoint)
        if assignment.metrics_address is not None:
            self._board.served(assignment.metrics_address)
        timeline = Timeline(assignment.since, assignment.phases)
        timeline.mark("supervisor start")
        self._board.started(timeline.phases)
        self._books = Bookkeeper(
            self._board,
            timeline,
            [self._keep],
            assignment.job.checkpoint_uri,
            assignment.job.checkpoint_keep.best,
        )
        for note in assignment.notes:
            self._books.note(note)
        self._heeded = assignment.number
        self._crew = RayCrew(
            assignment.job,
            assignment.each,
            assignment.run,
            assignment.namespace,
            standby=assignment.standby,
        )
        if assignment.places is not None:
            self._crew.limit(assignment.places)
        self._aside = ThreadPoolExecutor(1, thread_name_prefix="checkpoints")  # one: commits stay in order
        self._inbox: SimpleQueue[GangEvent] = SimpleQueue()
        self._supervisor: Supervisor | None = None
        self._thread = threading.Thread(target=self._live, args=(assignment,), name="supervisor", daemon=True)
        self._thread.start()

    def follow(self, incarnation: str, position: int, timeout: float) -> News:
        """What is new since a position in the history of an incarnation; waits for the first of it."""
        with self._changed:
            known = position if incarnation == self._incarnation else 0
            self._changed.wait_for(lambda: len(self._history) > known or self._outcome is not None, timeout)
            return News(
                incarnation=self._incarnation,
                entries=tuple(self._history[known:]),
                position=len(self._history),
                view=self._board.view(time.time()),
                outcome=self._outcome,
                held=self._crew.held(),
                heeded=self._heeded,
            )

    def wish(self, wish: Wish) -> str | None:
        """What the job's owner wants; returns why that is not possible, if it is not."""
        most = self._assignment.job.virtual_ranks
        if isinstance(wish, Resize) and not 1 <= wish.workers <= most:
            return f"{wish.workers} workers cannot share {most} virtual ranks"
        if isinstance(wish, SaveNow) and self._assignment.job.checkpoint_uri is None:
            return "the job saves no checkpoints: its file has no checkpoint.uri"
        self._inbox.put(wish)
        return None

    def nodes(self) -> dict[str, str]:
        """The cluster's nodes: id → name."""
        return self._crew.nodes()

    def story(self) -> list[str]:
        """The latest transitions of the job's life, a line each."""
        return self._supervisor.story() if self._supervisor is not None else []

    def happened(self, what: Happening) -> None:
        """See `orchestrator.supervisor.Observer`; in the supervisor's thread, before it acts on it."""
        if isinstance(what, Resize):
            if what.places is not None:
                self._crew.limit(what.places)
            self._heeded = what.number

    def _live(self, assignment: Assignment) -> None:
        try:
            outcome = self._run(assignment)
        except LockstepError as error:
            outcome = Outcome(done=False, exit_code=error.exit_code, fault=Fault.STORAGE, message=str(error))
        except BaseException as error:  # it must be heard of: followers wait for the end
            text = "".join(traceback.format_exception(error))
            message = f"the supervisor failed: {type(error).__name__}: {error}"
            outcome = Outcome(done=False, exit_code=FAILED, fault=Fault.INTERNAL, message=message, trace=text)
        self._books.ended(outcome)
        self._crew.close()
        with self._changed:
            self._outcome = outcome
            self._changed.notify_all()
        if assignment.tag is None:
            time.sleep(LINGER_SECONDS)
            ray.kill(ray.get_actor(assignment.actor, assignment.namespace))

    def _run(self, assignment: Assignment) -> Outcome:
        again = ray.get_runtime_context().was_current_actor_reconstructed
        checkpoints = JobCheckpoints(
            assignment.job.checkpoint_uri,
            resume_step=assignment.resume_step,
            keep=assignment.job.checkpoint_keep,
            sidecar=assignment.sidecar,
            workers_at_work=again,
        )
        self._supervisor = supervisor = Supervisor(
            crew=self._crew,
            policy=assignment.policy,
            workers=assignment.workers,
            resume_step=checkpoints.newest_step,
            left_out=checkpoints.left_out,
            places=assignment.places,
            checkpointing=checkpoints,
            observers=[checkpoints, self._books, self],
            aside=self._do_aside,
            inbox=self._inbox,
        )
        if not again:
            return supervisor.run()
        memories = self._crew.adopt()
        self._books.adopted(memories)
        for event in (event for memory in memories for event in memory.events):
            checkpoints.happened(event)
        return supervisor.run(memories)

    def _do_aside(self, work: Work, then: Callable[[GangEvent], None]) -> None:
        self._aside.submit(lambda: then(work()))

    def _keep(self, entry: Entry) -> None:
        with self._changed:
            self._history.append(entry)
            self._changed.notify_all()
