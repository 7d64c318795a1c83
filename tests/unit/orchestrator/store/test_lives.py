"""Random lives of many jobs: the database says what a model in memory says, event by event."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from orchestrator.records.facts import JobState
from orchestrator.store import tables
from orchestrator.store.database import Database
from orchestrator.store.jobs import Stale
from orchestrator.store.mirror import LiveJobs
from orchestrator.store.records import JobRecord
from orchestrator.store.states import ENDED, HOLDING, LEGAL, Illegal, Intent
from tests.support.store_jobs import submission
from workers.errors import InputError

NAMES = ("a", "b", "c")
KEYS = (None, "k1", "k2")
USERS = ("ann", "bob")
STATES = st.sampled_from(JobState)
CHOICE = st.integers(0, 10**6)


class Lives(RuleBasedStateMachine):
    """What is done is done to `jobs`, a model, as well: id → record."""

    database: Database

    @initialize()
    def begin(self) -> None:
        with self.database._writer.block() as connection:
            for table in reversed(tables.metadata.sorted_tables):
                if table is not tables.queues:
                    connection.execute(table.delete())
        self.jobs: dict[str, JobRecord] = {}
        self.past: list[JobRecord] = []
        self.held: dict[str, dict[str, int]] = {}
        self.told = 0
        self.now = 0.0
        self.mirror = LiveJobs()
        with self.database.reading() as tx:
            self.events_before = tx.events.newest()

    def live(self, choice: int) -> JobRecord:
        live = [job for job in self.jobs.values() if job.state not in ENDED]
        return live[choice % len(live)]

    def some_live(self) -> bool:
        return any(job.state not in ENDED for job in self.jobs.values())

    def keep(self, record: JobRecord) -> None:
        before = self.jobs.get(record.id)
        if before is not None and before is not record:
            assert record.version == before.version + 1
            self.past.append(before)
        self.jobs[record.id] = record

    @rule(name=st.sampled_from(NAMES), key=st.sampled_from(KEYS), user=st.sampled_from(USERS))
    def submit(self, name: str, key: str | None, user: str) -> None:
        self.now += 1
        with_key = [
            job
            for job in self.jobs.values()
            if key and (job.submission.key, job.submission.user) == (key, user)
        ]
        taken = [job for job in self.jobs.values() if job.submission.name == name and job.state not in ENDED]
        try:
            with self.database.transaction() as tx:
                record, created = tx.jobs.submit(submission(name, key=key, user=user), self.now)
        except InputError:
            assert with_key[0].submission.name != name if with_key else taken
            return
        assert created == (not with_key)
        if created:
            assert not taken
            assert record.number > max((job.number for job in self.jobs.values()), default=0)
            self.told += 1
            self.keep(record)
        else:
            assert record == with_key[0]

    @precondition(some_live)
    @rule(choice=CHOICE, after=STATES, service=st.floats(0, 1e9), nodes=st.integers(0, 2))
    def move(self, choice: int, after: JobState, service: float, nodes: int) -> None:
        self.now += 1
        record = self.live(choice)
        try:
            with self.database.transaction() as tx:
                if nodes:
                    tx.allocations.put(record.id, {f"n{i}": 1 + i for i in range(nodes)})
                moved = tx.jobs.move(
                    record, after, now=self.now, cause="plan", reason=f"for {self.now}", who="scheduler",
                    attained_service=service,
                )  # fmt: skip
        except Illegal:
            assert after not in LEGAL[record.state]
            return
        assert after in LEGAL[record.state]
        self.told += 1
        self.keep(moved)
        if nodes:
            self.held[record.id] = {f"n{i}": 1 + i for i in range(nodes)}
        if after not in HOLDING:
            self.held.pop(record.id, None)

    @precondition(lambda self: self.past)
    @rule(choice=CHOICE, after=STATES)
    def move_by_an_old_record(self, choice: int, after: JobState) -> None:
        with pytest.raises((Stale, Illegal)), self.database.transaction() as tx:
            tx.jobs.move(self.past[choice % len(self.past)], after, now=self.now, cause="", reason="", who="")

    @precondition(some_live)
    @rule(choice=CHOICE, intent=st.sampled_from([None, *Intent]), most=st.integers(0, 5) | st.none())
    def wish(self, choice: int, intent: Intent | None, most: int | None) -> None:
        record = self.live(choice)
        try:
            with self.database.transaction() as tx:
                wished = tx.jobs.wish(record.id, who="ann", now=self.now, intent=intent, max_workers=most)
        except InputError:
            return
        assert wished.state is record.state
        assert wished.intent is (intent or record.intent)
        assert wished.max_workers == (record.max_workers if most is None else most) >= 1
        self.told += (wished.intent, wished.max_workers) != (record.intent, record.max_workers)
        self.told += wished.intent is not record.intent and wished.max_workers != record.max_workers
        if wished != record:
            self.keep(wished)

    @precondition(some_live)
    @rule(choice=CHOICE, code=st.sampled_from(["quota", "room", None]))
    def explain(self, choice: int, code: str | None) -> None:
        record = self.live(choice)
        why = None if code is None else {"code": code}
        with self.database.transaction() as tx:
            tx.jobs.explain({record.id: why})
        self.keep(replace(record, explain=why, version=record.version + 1))

    @precondition(some_live)
    @rule(choice=CHOICE)
    def break_off(self, choice: int) -> None:
        """Much is done in a block that fails in the end: nothing of it is seen."""
        record = self.live(choice)
        with suppress(ZeroDivisionError), self.database.transaction() as tx:
            tx.jobs.submit(submission("broken off"), self.now)
            tx.jobs.change(record, now=self.now, view={"step": 1})
            tx.allocations.drop(record.id)
            raise ZeroDivisionError

    @rule()
    def look_again(self) -> None:
        """The mirror is refreshed now and then, not after each change."""
        with self.database.reading() as tx:
            self.mirror.refresh(tx)
            assert list(self.mirror.jobs.values()) == tx.jobs.live()

    @invariant()
    def the_database_says_the_same(self) -> None:
        with self.database.reading() as tx:
            found = tx.jobs.page(limit=10**6)
            assert {job.id: job for job in found} == self.jobs
            live = [job for job in found if job.state not in ENDED]
            assert tx.jobs.live() == live[::-1]
            names = [job.submission.name for job in live]
            assert len(names) == len(set(names))
            keys = [(job.submission.user, job.submission.key) for job in found if job.submission.key]
            assert len(keys) == len(set(keys))
            held: dict[str, dict[str, int]] = {}
            for row in tx.allocations.all():
                held.setdefault(row.job, {})[row.node] = row.workers
            assert held == self.held
            events = tx.events.after(self.events_before, limit=10**6)
        assert len(events) == self.told
        states: dict[str, JobState] = {}
        for event in events:
            if event.after is not None:
                assert event.before is states.get(event.job)
                assert event.before is None or event.after in LEGAL[event.before]
                states[event.job] = event.after
        assert states == {id: job.state for id, job in self.jobs.items()}


@pytest.mark.slow
def test_the_database_tells_what_happened_and_nothing_else(database):
    machine = type("Lives", (Lives,), {"database": database})
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=20,
            stateful_step_count=40,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
