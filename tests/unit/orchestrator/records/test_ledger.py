from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.records.ledger import Ledger
from tests.support.events import FakeWorker
from workers.protocol import Activity

A = Activity


def seconds(ledger: Ledger, now: float) -> dict[Activity, float]:
    """The categories that are not empty; their sum is checked against what elapsed on the way."""
    totals = ledger.totals(now)
    assert sum(totals.seconds.values()) == pytest.approx(totals.elapsed, abs=1e-9)
    return {activity: pytest.approx(spent) for activity, spent in totals.seconds.items() if abs(spent) > 1e-9}


def training(*ids: str, step: int = 0, restored: bool = False) -> tuple[Ledger, list[FakeWorker]]:
    """Workers that began at time 0 and are in generation 0, one second later."""
    ledger, workers = Ledger(), [FakeWorker(id) for id in ids]
    ledger.queued(ids, 0.0)
    ledger.placed(ids, 0.0)
    for worker in workers:
        ledger.observe(worker.spend(A.STARTUP, 1.0).formed(step=step, restored=restored), 1.0)
    return ledger, workers


def test_a_slot_is_queued_then_starting_before_its_worker_exists() -> None:
    ledger = Ledger()
    ledger.queued(["w0", "w1"], 10.0)
    assert seconds(ledger, 13.0) == {A.QUEUED: 6.0}
    ledger.placed(["w0", "w1"], 14.0)
    assert seconds(ledger, 15.0) == {A.QUEUED: 8.0, A.STARTUP: 2.0}


def test_time_between_placement_and_the_process_is_startup() -> None:
    ledger, worker = Ledger(), FakeWorker(began=5.0)
    ledger.queued(["w0"], 0.0)
    ledger.placed(["w0"], 2.0)
    worker.spend(A.STARTUP, 3.0)
    ledger.observe(worker.ready(), 8.0)
    assert seconds(ledger, 9.0) == {A.QUEUED: 2.0, A.STARTUP: 7.0}


def test_a_step_is_productive_once_a_living_worker_has_applied_it() -> None:
    ledger, (a, b) = training("a", "b")
    for worker in (a, b):
        worker.spend(A.DATA_WAIT, 0.25).spend(A.PRODUCTIVE, 0.75)
    ledger.observe(a.step_done(1), 2.0)
    assert seconds(ledger, 2.0) == {A.STARTUP: 2.0, A.DATA_WAIT: 0.25, A.PRODUCTIVE: 0.75, A.IDLE: 1.0}
    ledger.observe(b.step_done(1), 2.0)
    assert seconds(ledger, 2.0) == {A.STARTUP: 2.0, A.DATA_WAIT: 0.5, A.PRODUCTIVE: 1.5}


def test_work_on_a_step_in_progress_is_not_yet_productive() -> None:
    ledger, (a,) = training("a")
    ledger.observe(a.spend(A.PRODUCTIVE, 1.0).step_done(1), 2.0)
    ledger.observe(a.spend(A.PRODUCTIVE, 0.5).saved(1), 2.5)
    assert seconds(ledger, 2.5) == {A.STARTUP: 1.0, A.PRODUCTIVE: 1.0, A.IDLE: 0.5}
    ledger.observe(a.spend(A.PRODUCTIVE, 0.5).step_done(2), 3.0)
    assert seconds(ledger, 3.0) == {A.STARTUP: 1.0, A.PRODUCTIVE: 2.0}


def test_a_silent_worker_is_idle_until_it_reports() -> None:
    ledger, (a,) = training("a")
    assert seconds(ledger, 61.0) == {A.STARTUP: 1.0, A.IDLE: 60.0}
    ledger.observe(a.spend(A.EVALUATION, 60.0).evaluated(0, {}), 61.0)
    assert seconds(ledger, 61.0) == {A.STARTUP: 1.0, A.EVALUATION: 60.0}


def test_the_broken_step_is_redone_and_the_steps_before_stay_productive() -> None:
    ledger, (a, b) = training("a", "b")
    for worker in (a, b):
        ledger.observe(worker.spend(A.PRODUCTIVE, 1.0).step_done(1), 2.0)
    ledger.lost("b", 2.5)
    ledger.observe(a.spend(A.PRODUCTIVE, 0.5).broken(1), 2.5)
    ledger.observe(a.spend(A.RECOVERY, 0.25).formed(generation=1, step=1), 2.75)
    ledger.observe(a.spend(A.PRODUCTIVE, 2.0).step_done(2, generation=1), 4.75)
    assert seconds(ledger, 4.75) == {
        A.STARTUP: 2.0,
        A.PRODUCTIVE: 4.0,
        A.REDONE: 1.0,
        A.RECOVERY: 0.25,
    }


def test_a_straddled_step_that_a_survivor_has_applied_is_not_thrown_away() -> None:
    ledger, (a, b, _c) = training("a", "b", "c")
    ledger.observe(a.spend(A.PRODUCTIVE, 1.0).step_done(1), 2.0)
    ledger.lost("c", 2.0)
    ledger.observe(b.spend(A.PRODUCTIVE, 1.0).broken(0), 2.0)
    ledger.observe(a.formed(generation=1, step=1), 2.0)
    ledger.observe(b.formed(generation=1, step=1), 2.0)
    assert seconds(ledger, 2.0) == {A.STARTUP: 3.0, A.PRODUCTIVE: 2.0, A.REDONE: 1.0}


@pytest.mark.parametrize("first", ["a", "b"])
def test_what_a_survivor_first_reports_when_it_forms_is_work_on_the_broken_step(first: str) -> None:
    ledger, (a, b, _) = training("a", "b", "c")
    ledger.lost("c", 1.0)
    a.spend(A.RECOVERY, 1.0)
    b.spend(A.PRODUCTIVE, 0.5).spend(A.RECOVERY, 0.5)
    for worker in (a, b) if first == "a" else (b, a):
        ledger.observe(worker.formed(generation=1), 2.0)
    for worker in (a, b):
        ledger.observe(worker.step_done(1, generation=1), 2.0)
    assert seconds(ledger, 2.0) == {A.STARTUP: 3.0, A.REDONE: 0.5, A.RECOVERY: 1.5}


def test_when_nobody_survives_only_the_checkpoint_does() -> None:
    ledger, (a, b) = training("a", "b")
    for step in (1, 2, 3):
        for worker in (a, b):
            ledger.observe(worker.spend(A.PRODUCTIVE, 1.0).step_done(step), 1.0 + step)
    ledger.checkpointed(2)
    ledger.lost("a", 4.0)
    assert seconds(ledger, 4.0) == {A.STARTUP: 2.0, A.PRODUCTIVE: 6.0}
    ledger.lost("b", 4.0)
    assert seconds(ledger, 4.0) == {A.STARTUP: 2.0, A.PRODUCTIVE: 4.0, A.REDONE: 2.0}


def test_a_resumed_job_counts_steps_after_its_checkpoint() -> None:
    ledger, (a,) = training("a", step=1000, restored=True)
    ledger.observe(a.spend(A.PRODUCTIVE, 1.0).step_done(1001), 2.0)
    assert seconds(ledger, 2.0) == {A.STARTUP: 1.0, A.PRODUCTIVE: 1.0}
    ledger.lost("a", 2.0)
    assert seconds(ledger, 2.0) == {A.STARTUP: 1.0, A.REDONE: 1.0}


def test_what_a_lost_worker_never_reported_is_redone() -> None:
    ledger, (a, _b) = training("a", "b")
    ledger.lost("b", 3.0)
    ledger.observe(a.spend(A.REDUCE_WAIT, 2.0).saved(0), 3.0)
    assert seconds(ledger, 3.0) == {A.STARTUP: 2.0, A.REDUCE_WAIT: 2.0, A.REDONE: 2.0}


def test_from_a_lost_connection_to_the_next_generation_time_is_recovery() -> None:
    ledger, (a, _) = training("a", "b")
    ledger.observe(a.spend(A.PRODUCTIVE, 0.5).spend(A.REDONE, 0.5).broken(0), 2.0)
    ledger.lost("b", 2.0)
    assert seconds(ledger, 5.0) == {A.STARTUP: 2.0, A.REDONE: 1.5, A.RECOVERY: 3.0, A.IDLE: 0.5}
    ledger.observe(a.spend(A.RECOVERY, 3.0).formed(generation=1), 5.0)
    assert seconds(ledger, 5.0) == {A.STARTUP: 2.0, A.REDONE: 2.0, A.RECOVERY: 3.0}


def test_a_worker_that_stands_still_at_a_boundary_is_idle() -> None:
    ledger, (a, _) = training("a", "b")
    ledger.observe(a.spend(A.PRODUCTIVE, 1.0).step_done(1), 2.0)
    ledger.observe(a.parked(1), 2.0)
    ledger.lost("b", 1.0)
    assert seconds(ledger, 9.0) == {A.STARTUP: 2.0, A.PRODUCTIVE: 1.0, A.REDONE: 1.0, A.IDLE: 7.0}


def test_a_worker_that_is_released_loses_nothing_of_what_it_did() -> None:
    ledger, (a, b) = training("a", "b")
    for worker in (a, b):
        ledger.observe(worker.spend(A.PRODUCTIVE, 1.0).step_done(1), 2.0)
        ledger.observe(worker.parked(1), 2.0)
    ledger.released("b", 3.0)
    ledger.released("b", 4.0)
    ledger.released("nobody", 4.0)
    assert seconds(ledger, 4.0) == {A.STARTUP: 2.0, A.PRODUCTIVE: 2.0, A.IDLE: 1.0 + 2.0}
    late = b.spend(A.PRODUCTIVE, 1.0).step_done(2)
    ledger.observe(late, 4.0)
    assert seconds(ledger, 4.0) == {A.STARTUP: 2.0, A.PRODUCTIVE: 2.0, A.IDLE: 1.0 + 2.0}


@pytest.mark.parametrize(("kept", "category"), [(True, A.PRODUCTIVE), (False, A.REDONE)])
def test_the_end_keeps_the_last_state_or_only_the_last_checkpoint(kept: bool, category: Activity) -> None:
    ledger, (a,) = training("a")
    ledger.observe(a.spend(A.PRODUCTIVE, 1.0).step_done(1), 2.0)
    ledger.observe(a.finished(1), 2.0)
    ledger.ended(3.0, kept=kept)
    assert seconds(ledger, 99.0) == {A.STARTUP: 1.0, category: 1.0, A.IDLE: 1.0}


def test_a_late_first_report_does_not_count_seconds_twice() -> None:
    ledger, worker = Ledger(), FakeWorker(began=2.0)
    ledger.queued(["w0"], 0.0)
    ledger.placed(["w0"], 1.0)
    ledger.observe(worker.spend(A.STARTUP, 1.0).formed(), 6.0)  # three seconds on the way
    ledger.observe(worker.spend(A.PRODUCTIVE, 3.5).step_done(1), 6.5)
    assert seconds(ledger, 6.5) == {A.QUEUED: 1.0, A.STARTUP: 2.0, A.PRODUCTIVE: 3.5}


def test_a_report_that_took_long_does_not_make_the_start_look_longer() -> None:
    ledger, (a,) = training("a")
    ledger.observe(a.spend(A.PRODUCTIVE, 1.0).step_done(1), 5.0)  # three seconds on the way
    assert seconds(ledger, 5.0) == {A.STARTUP: 1.0, A.PRODUCTIVE: 1.0, A.IDLE: 3.0}


def test_a_worker_that_nobody_queued_is_adopted_with_its_past() -> None:
    ledger, worker = Ledger(), FakeWorker(began=-100.0)
    ledger.observe(worker.spend(A.IDLE, 100.0).formed(step=7), 0.0)
    assert ledger.totals(1.0).elapsed == pytest.approx(101.0)


def test_reports_after_a_loss_and_reports_that_were_overtaken_change_nothing() -> None:
    ledger, (a, b) = training("a", "b")
    overtaken = a.spend(A.PRODUCTIVE, 0.5).saved(0)
    ledger.observe(a.spend(A.CHECKPOINT_STALL, 0.25).spend(A.PRODUCTIVE, 0.25).step_done(1), 2.0)
    before = ledger.totals(2.0)
    ledger.observe(overtaken, 2.0)
    assert ledger.totals(2.0) == before
    ledger.lost("b", 2.0)
    after = ledger.totals(2.0)
    ledger.observe(b.spend(A.PRODUCTIVE, 1.0).step_done(2), 2.0)
    ledger.lost("b", 2.0)
    assert ledger.totals(2.0) == after


def test_a_worker_id_can_be_used_again_after_a_loss() -> None:
    ledger, _ = training("a")
    ledger.lost("a", 1.0)
    ledger.queued(["a"], 2.0)
    ledger.placed(["a"], 3.0)
    assert seconds(ledger, 5.0) == {A.STARTUP: 3.0, A.QUEUED: 1.0}


def test_a_clock_that_runs_backwards_stands_still() -> None:
    ledger = Ledger()
    ledger.queued(["w0"], 10.0)
    ledger.placed(["w0"], 4.0)
    assert seconds(ledger, 3.0) == {}
    assert seconds(ledger, 11.0) == {A.STARTUP: 1.0}


SPENT = st.lists(st.tuples(st.sampled_from(list(A)), st.floats(0.0, 5.0)), max_size=3)
ACTION = st.one_of(
    st.tuples(st.just("wait"), st.floats(-1.0, 5.0)),
    st.tuples(
        st.sampled_from(["ready", "step", "saved", "failed", "broken", "parked", "finished"]),
        st.integers(0, 3),
        SPENT,
    ),
    st.tuples(st.just("form"), st.integers(0, 6), st.booleans()),
    st.tuples(st.sampled_from(["lost", "released"]), st.integers(0, 3)),
    st.tuples(st.just("requeue"), st.integers(0, 3)),
    st.tuples(st.just("checkpoint"), st.integers(0, 8)),
)


class Story:
    """Random lives of four workers, in any order that a supervisor could see, sane or not."""

    def __init__(self) -> None:
        self.ledger, self.now, self.generation = Ledger(), 0.0, -1
        ids = [f"w{i}" for i in range(4)]
        self.workers = [FakeWorker(id) for id in ids]
        self.steps = [0] * 4
        self.ledger.queued(ids, 0.0)
        self.ledger.placed(ids[:3], 0.0)

    def act(self, action: tuple[object, ...]) -> None:
        match action:
            case "wait", float(seconds):
                self.now += seconds
            case "form", int(step), bool(restored):
                self.generation += 1
                for i, worker in enumerate(self.workers):
                    self.steps[i] = step
                    self.observe(worker.formed(self.generation, step, restored))
            case "lost", int(i):
                self.ledger.lost(f"w{i}", self.now)
            case "released", int(i):
                self.ledger.released(f"w{i}", self.now)
            case "requeue", int(i):
                self.ledger.lost(f"w{i}", self.now)
                self.workers[i], self.steps[i] = FakeWorker(f"w{i}", began=self.now), 0
                self.ledger.queued([f"w{i}"], self.now)
            case "checkpoint", int(step):
                self.ledger.checkpointed(step)
            case str(kind), int(i), list(spent):
                self.report(kind, i, spent)

    def report(self, kind: str, i: int, spent: list[tuple[Activity, float]]) -> None:
        worker = self.workers[i]
        for activity, seconds in spent:
            worker.spend(activity, seconds)
        if kind == "step":
            self.steps[i] += 1
            self.observe(worker.step_done(self.steps[i], generation=max(0, self.generation)))
        else:
            events = {
                "ready": worker.ready,
                "saved": lambda: worker.saved(self.steps[i]),
                "failed": worker.failed,
                "broken": lambda: worker.broken(self.steps[i]),
                "parked": lambda: worker.parked(self.steps[i]),
                "finished": lambda: worker.finished(self.steps[i]),
            }
            self.observe(events[kind]())

    def observe(self, event: object) -> None:
        self.ledger.observe(event, self.now)  # type: ignore[arg-type]


@settings(max_examples=300, deadline=None)
@given(st.lists(ACTION, max_size=30), st.booleans())
def test_categories_sum_to_what_elapsed_at_every_instant_of_any_story(
    actions: list[tuple[object, ...]], kept: bool
) -> None:
    story = Story()
    latest, elapsed = 0.0, 0.0
    for action in actions:
        story.act(action)
        latest = max(latest, story.now)
        for now in (latest + 0.5, latest):
            totals = story.ledger.totals(now)
            assert sum(totals.seconds.values()) == pytest.approx(totals.elapsed, abs=1e-6)
            assert all(spent >= -1e-6 for spent in totals.seconds.values())
        assert totals.elapsed >= elapsed - 1e-6
        elapsed = totals.elapsed
    story.ledger.ended(latest, kept=kept)
    totals = story.ledger.totals(latest)
    assert totals.elapsed == pytest.approx(elapsed, abs=1e-6)
    assert sum(totals.seconds.values()) == pytest.approx(totals.elapsed, abs=1e-6)
    assert story.ledger.totals(latest + 100.0) == totals


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(st.integers(1, 3), st.booleans()), min_size=1, max_size=8))
def test_productive_is_exactly_the_work_on_steps_that_are_held_or_durable(
    lives: list[tuple[int, bool]],
) -> None:
    """Lives of a lone worker: some steps, perhaps a checkpoint of the last, half a step more, then death."""
    ledger, now, durable = Ledger(), 0.0, 0
    for life, (steps, saved) in enumerate(lives):
        id = f"w{life}"
        ledger.queued([id], now)
        ledger.placed([id], now)
        worker = FakeWorker(id, began=now)
        ledger.observe(worker.formed(life, durable, restored=durable > 0), now)
        for step in range(durable + 1, durable + steps + 1):
            ledger.observe(worker.spend(A.PRODUCTIVE, 1.0).step_done(step, generation=life), worker.now)
            assert ledger.totals(worker.now).seconds[A.PRODUCTIVE] == pytest.approx(step)
        if saved:
            durable += steps
            ledger.checkpointed(durable)
        now = worker.now + 0.5
        ledger.lost(id, now)
        assert ledger.totals(now).seconds[A.PRODUCTIVE] == pytest.approx(durable)
        assert ledger.totals(now).seconds[A.REDONE] == pytest.approx(now - durable)
