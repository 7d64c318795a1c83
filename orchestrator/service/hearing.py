"""Takes what owners want, what supervisors tell and what has become of nodes into the records."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Sequence

from orchestrator.exit_codes import UNREACHABLE
from orchestrator.records.facts import JobState
from orchestrator.service import commit, settle
from orchestrator.service.executor import ClusterNode, Heard, Missing, NotStarted, Order, Over, Report, Seen
from orchestrator.service.observe import fewer, having
from orchestrator.service.settle import Move
from orchestrator.service.world import World
from orchestrator.store.records import JobRecord, Note
from orchestrator.store.states import HOLDING, Intent
from orchestrator.store.transaction import Transaction

_log = logging.getLogger(__name__)

#: A job's view is written so often at most: nobody reads faster, and each costs a write.
_VIEW_SECONDS = 2.0
#: A job whose start failed for what may pass is tried again after so many seconds; it doubles each time.
_REST_SECONDS, _REST_SECONDS_MAX = 5.0, 300.0
#: So many failed starts in a row, and the job has failed.
_STARTS_MAX = 6
#: How many of a job's events are looked at for where its history was left.
_LATEST = 50


class Hearing:
    """Reports stay here until what they change is on disk.

    Args:
        world: what is known of the jobs.
        unheard: reports that an earlier one did not get to disk.

    Attributes:
        positions: how far each job's history is known.
    """

    def __init__(self, world: World, unheard: Sequence[Report] = ()) -> None:
        self._world = world
        self.unheard: list[Report] = list(unheard)
        self.positions: dict[str, Heard] = {}
        self._told: dict[str, Order] = {}
        self._viewed: dict[str, float] = {}
        self._failures: Counter[str] = Counter()

    def listen(self, reports: Sequence[Report]) -> None:
        """To be settled in the next transaction."""
        self.unheard += reports

    def settled(self) -> None:
        """What was heard is on disk."""
        self.unheard = []

    def told(self, order: Order) -> None:
        """A supervisor was told how things should be."""
        self._told[order.job] = order

    def settle(self, tx: Transaction, nodes: Sequence[ClusterNode] | None, now: float) -> None:
        """Note all of it. One job that cannot be dealt with keeps nobody else waiting.

        Args:
            nodes: those that are up; None if that is not known.
        """
        for record in self._world.holding():
            if record.id not in self.positions:
                self.positions[record.id] = _position(tx, record)
        for report in self.unheard:
            if report.job in self._world.records:
                self._hear(tx, self._world.records[report.job], report, now)
        if nodes is not None:
            up = {node.id for node in nodes}
            for record in self._world.holding():
                self._lose_nodes(tx, record, up, now)
        for record in list(self._world.records.values()):
            if record.intent is not Intent.RUN or record.state is JobState.PAUSED:
                wanted = settle.wished(record)
                if wanted is not None:
                    commit.move(tx, self._world, record, wanted, now)
            elif record.state is JobState.RUNNING:
                self._limit(tx, record, now)
        self._forget()

    def _hear(self, tx: Transaction, record: JobRecord, report: Report, now: float) -> None:
        if report.attempt != record.attempt or record.state not in HOLDING:
            return
        if isinstance(report, Seen | Over):
            record = self._note(tx, record, report, now)
        if isinstance(report, Seen) and report.held is not None:
            self._resettle(tx, record, report)
        what = settle.heard(record, report)
        if isinstance(report, Missing | NotStarted) and what is not None:
            what = self._failed_to_start(record, what, report, now)
        elif isinstance(report, Seen) and report.running:
            self._failures.pop(record.id, None)
        if what is not None:
            commit.move(tx, self._world, record, what, now)

    def _note(self, tx: Transaction, record: JobRecord, report: Seen | Over, now: float) -> JobRecord:
        """Its history and how it looks."""
        known = self.positions.get(record.id, Heard())
        is_same = report.heard.incarnation == known.incarnation
        if not is_same or report.heard.position > known.position:
            at = {"supervisor": report.heard.incarnation, "position": report.heard.position}
            notes = [
                Note(kind=e.kind, cause=e.cause, reason=e.reason, who="supervisor", data={**e.data, **at})
                for e in report.told
            ]
            tx.events.add_all([(record.id, note, e.time) for note, e in zip(notes, report.told, strict=True)])
            self.positions[record.id] = report.heard
        due = now - self._viewed.get(record.id, 0.0) >= _VIEW_SECONDS
        if due or isinstance(report, Over):
            self._viewed[record.id] = now
            record = tx.jobs.change(record, now=now, view=report.view)
            self._world.put(record)
        return record

    def _resettle(self, tx: Transaction, record: JobRecord, report: Seen) -> None:
        """What a job holds: room that it has given back is free."""
        order = self._told.get(record.id)
        places = self._world.places(record.id)
        if order is None or order.places != places or report.heeded < order.number:
            return  # it speaks of an earlier order
        self._world.hold(tx, record.id, *having(places, report.held or {}))

    def _failed_to_start(
        self, record: JobRecord, what: Move, report: Missing | NotStarted, now: float
    ) -> Move:
        """Have a job rest that could not be started; after so many times it has failed."""
        if what.after is not JobState.QUEUED or what.cause != "start_failed":
            return what
        self._failures[record.id] += 1
        failures = self._failures[record.id]
        words = report.message if isinstance(report, NotStarted) else report.why
        if failures >= _STARTS_MAX:
            outcome = {"exit_code": UNREACHABLE, "fault": "storage", "message": words}
            return Move(after=JobState.FAILED, cause="start_failed", reason=words, outcome=outcome)
        rest = min(_REST_SECONDS_MAX, _REST_SECONDS * 2 ** (failures - 1))
        self._world.resting[record.id] = now + rest
        return what

    def _lose_nodes(self, tx: Transaction, record: JobRecord, up: set[str], now: float) -> None:
        """What a job had on nodes that are gone."""
        rows = self._world.rows.get(record.id, ())
        gone = sorted({row.node for row in rows if row.node not in up})
        if not gone:
            return
        there = {row.node: row.workers for row in rows if row.node in up}
        places = {node: count for node, count in self._world.places(record.id).items() if node in up}
        reason = f"node{'s' if len(gone) > 1 else ''} {', '.join(node[:12] for node in gone)} gone"
        if not places and record.state in (JobState.STARTING, JobState.RUNNING):
            record = commit.move(
                tx, self._world, record, Move(after=JobState.STOPPING, cause="lost", reason=reason), now
            )
        note = Note(kind="resize", cause="lost", reason=reason, who="controller", data={"places": places})
        commit.resize(tx, self._world, record, places, now, note)
        self._world.hold(tx, record.id, *having(places, there))

    def _limit(self, tx: Transaction, record: JobRecord, now: float) -> None:
        """A job that has more workers than its owner wants lets some go."""
        places = self._world.places(record.id)
        if sum(places.values()) <= record.max_workers:
            return
        smaller = fewer(places, record.max_workers)
        who, data = record.submission.user, {"places": smaller}
        reason = f"its owner wants {record.max_workers} workers at most"
        note = Note(kind="resize", cause="user", reason=reason, who=who, data=data)
        commit.resize(tx, self._world, record, smaller, now, note)

    def _forget(self) -> None:
        """Nothing is kept of jobs that hold nothing."""
        holding = {record.id for record in self._world.holding()}
        for kept in (self.positions, self._told, self._viewed):
            for job in [job for job in kept if job not in holding]:
                del kept[job]
        for job in [job for job in self._world.resting if job not in self._world.records]:
            del self._world.resting[job]
            self._failures.pop(job, None)


def _position(tx: Transaction, record: JobRecord) -> Heard:
    """How far the history of its supervisor was written down."""
    for event in reversed(tx.events.latest(record.id, _LATEST)):
        if "supervisor" in event.data:
            return Heard(incarnation=event.data["supervisor"], position=event.data["position"])
        if event.after is JobState.STARTING:
            break
    return Heard()
