from __future__ import annotations

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.records.facts import Failure, JobState, WorkerState
from orchestrator.records.ledger import Ledger
from orchestrator.records.status import JobStatus
from tests.support.events import BATCH, FakeWorker, train_job
from workers.protocol import Activity, Event, Fault, Membership, Usage


def folded(*events: Event) -> JobStatus:
    status = JobStatus.of(train_job())
    for event in events:
        status = status.apply(event)
    return status


def running(*ids: str) -> tuple[JobStatus, list[FakeWorker]]:
    workers = [FakeWorker(id) for id in ids]
    status = JobStatus.of(train_job()).queued(ids).placed(ids)
    for worker in workers:
        status = status.apply(worker.formed())
    return status, workers


def test_a_job_goes_from_queued_over_starting_to_running() -> None:
    worker = FakeWorker()
    story = [JobStatus.of(train_job())]
    story.append(story[-1].queued(["w0"]))
    story.append(story[-1].placed(["w0"]))
    story.append(story[-1].apply(worker.ready()))
    story.append(story[-1].apply(worker.formed()))
    story.append(story[-1].ended(JobState.DONE))
    states = [status.state.value for status in story]
    assert states == ["queued", "queued", "starting", "starting", "running", "done"]
    workers = [status.workers["w0"].state.value for status in story[1:]]
    assert workers == ["queued", "starting", "ready", "training", "training"]


def test_a_step_counts_once_however_many_workers_report_it() -> None:
    status, (a, b) = running("a", "b")
    for worker in (a, b):
        status = status.apply(worker.step_done(1))
    assert (status.step, status.samples, status.samples_trained, status.pace.steps) == (1, BATCH, BATCH, 1)


def test_the_slower_workers_report_does_not_take_the_job_back() -> None:
    status, (a, b) = running("a", "b")
    for event in (a.step_done(1), a.step_done(2, loss=0.5), b.step_done(1)):
        status = status.apply(event)
    assert (status.step, status.loss, status.workers["b"].step) == (2, 0.5, 1)


@given(st.floats(allow_nan=True), st.floats(allow_nan=True))
def test_losses_that_differ_in_any_bit_are_a_broken_promise(ours: float, theirs: float) -> None:
    status, (a, b) = running("a", "b")
    status = status.apply(a.step_done(1, loss=ours)).apply(b.step_done(1, loss=theirs))
    same = repr(ours) == repr(theirs)
    assert len(status.disagreements) == (0 if same else 1)
    if not same:
        assert status.disagreements[0].name == "loss"


def test_a_disagreement_is_found_however_late_the_other_report_comes() -> None:
    status, (a, b) = running("a", "b")
    for step in range(1, 40):
        status = status.apply(a.step_done(step, values={"lr": 0.1}))
    for step in range(1, 40):
        status = status.apply(b.step_done(step, values={"lr": 0.1 if step != 7 else 0.2}))
    assert [str(found) for found in status.disagreements] == ["step 7: b reports lr 0.2, others 0.1"]


def test_reports_that_everybody_has_given_are_forgotten() -> None:
    status, (a, b) = running("a", "b")
    for step in range(1, 1000):
        status = status.apply(a.step_done(step)).apply(b.step_done(step))
    assert len(status._reports) <= 2


def test_a_new_generation_goes_on_from_where_it_formed_and_counts_what_is_redone() -> None:
    status, (a, b) = running("a", "b")
    status = status.apply(a.step_done(1)).apply(b.step_done(1)).apply(b.step_done(2))
    status = status.lost("b").apply(a.broken(1))
    assert status.workers["a"].state is WorkerState.RECOVERING
    status = status.apply(a.formed(generation=1, step=1))
    assert (status.step, status.redone_steps, status.generations) == (1, 1, 2)
    assert status.failure is None
    status = status.apply(a.step_done(2, generation=1))
    assert (status.step, status.redone_steps) == (2, 1)


def test_samples_trained_never_fall() -> None:
    status, (a,) = running("a")
    for step in (1, 2, 3):
        status = status.apply(a.step_done(step))
    status = status.apply(a.formed(generation=1, step=1))
    trained = [status.samples_trained]
    for step in (2, 3, 4):
        status = status.apply(a.step_done(step, generation=1))
        trained.append(status.samples_trained)
    assert trained == sorted(trained)
    assert trained[-1] > 4 * BATCH
    assert status.samples == 4 * BATCH


def test_reports_of_an_old_generation_and_of_a_lost_worker_change_no_step() -> None:
    status, (a, b) = running("a", "b")
    status = status.apply(a.formed(generation=1, step=0))
    assert status.apply(b.step_done(9, generation=0)).step == 0
    lost = status.lost("b")
    assert lost.apply(b.step_done(9, generation=1)) == lost


def test_a_step_that_all_survivors_had_begun_is_redone_though_nobody_had_done_it() -> None:
    status, (a, b, _) = running("a", "b", "c")
    status = status.apply(a.step_done(1)).apply(b.step_done(1))
    status = status.lost("c").apply(a.broken(1)).apply(b.broken(1))
    status = status.apply(a.formed(generation=1, step=1)).apply(b.formed(generation=1, step=1))
    assert status.redone_steps == 1


def test_stopping_at_a_boundary_redoes_nothing() -> None:
    status, (a,) = running("a")
    status = status.apply(a.step_done(1)).apply(a.parked(1))
    assert status.workers["a"].state is WorkerState.PARKED
    status = status.paused()
    assert status.state is JobState.PAUSED
    status = status.apply(a.formed(generation=1, step=1))
    assert (status.state, status.redone_steps, status.generations) == (JobState.RUNNING, 0, 2)


def test_the_failure_that_is_told_is_the_cause_and_not_its_echo() -> None:
    echo, cause = FakeWorker("a").broken(2), FakeWorker("b").failed(Fault.USER, step=3)
    late = FakeWorker("c").failed(Fault.MEMORY, step=3)
    for events in ((echo, cause, late), (cause, echo, late)):
        failure = folded(*events).failure
        assert failure is not None
        assert (failure.worker, failure.fault) == ("b", Fault.USER)


def test_what_the_job_failed_of_in_the_end_is_what_its_supervisor_says() -> None:
    status = folded(FakeWorker("a").failed(Fault.STORAGE, step=3))
    assert status.ended(JobState.FAILED).failure == status.failure
    poison = Failure(worker="a", fault=Fault.POISON, message="no", trace=None, step=3, exit_code=1)
    assert status.ended(JobState.FAILED, poison).failure == poison


def test_a_metric_of_a_step_that_was_evaluated_again_is_the_same_and_an_older_one_comes_too_late() -> None:
    status, (a, b) = running("a", "b")
    status = status.apply(a.evaluated(20, {"accuracy": 0.5}))
    assert status.apply(b.evaluated(20, {"accuracy": 0.5})) == status
    assert status.apply(b.evaluated(10, {"accuracy": 0.1})).metrics == {"accuracy": 0.5}


def test_hosted_virtual_ranks_follow_the_membership() -> None:
    status, _ = running("a", "b")
    both = Membership(generation=0, workers=("a", "b"), hosted=((0, 1), (2,)), store="-")
    status = status.formed(both)
    assert [worker.vranks for worker in status.workers.values()] == [(0, 1), (2,)]
    status = status.lost("a").formed(Membership(generation=1, workers=("b",), hosted=((0, 1, 2),), store="-"))
    assert [worker.vranks for worker in status.workers.values()] == [(), (0, 1, 2)]
    assert status.generations == 2


def test_startup_is_the_drivers_phases_and_those_of_the_slowest_worker() -> None:
    status = folded(
        FakeWorker("a").ready({"torch": 2.0}), FakeWorker("b").ready({"torch": 3.0, "build": 1.0})
    )
    status = status.started({"ray": 4.0}).apply(FakeWorker("c").ready({"torch": 1.0}))
    assert status.startup == {"ray": 4.0, "worker torch": 3.0, "worker build": 1.0}


def test_the_rate_and_the_time_left_follow_the_recent_wall_clock() -> None:
    status, (a,) = running("a")
    for step in range(1, 101):
        status = status.apply(a.spend(Activity.PRODUCTIVE, 0.5).step_done(step, seconds=0.4))
    assert status.pace.steps_per_second() == pytest.approx(2.0)
    assert status.pace.samples_per_second() == pytest.approx(2.0 * BATCH)
    assert status.pace.seconds_left(300) == pytest.approx(100.0)
    assert status.pace.throughput() == pytest.approx((2.0, 2.0 * BATCH))
    assert status.pace.step_seconds == pytest.approx(40.0)
    assert len(status.pace.recent) <= 30


def test_the_json_object_has_the_public_keys_and_is_standard_json() -> None:
    status, (a,) = running("a")
    status = status.formed(Membership(generation=0, workers=("a",), hosted=((0, 1),), store="-"))
    status = status.apply(a.ready()).apply(a.step_done(1, loss=math.nan, usage=Usage(cpu_seconds=1.0)))
    status = status.apply(a.evaluated(1, {"accuracy": 0.5})).apply(a.finished(1, "ab" * 32))
    status = status.checkpointed("file:///runs/toy", 1).ended(JobState.DONE)
    text = json.dumps(status.to_json(Ledger().totals(0.0)), allow_nan=False)
    told = json.loads(text)
    assert told["workers"] == [
        {
            "id": "a",
            "pid": 1097,
            "node": "here",
            "device": "cpu",
            "vranks": [0, 1],
            "state": "finished",
            "exit_code": None,
        }
    ]
    assert told["goodput"].keys() == {*(activity.value for activity in Activity), "elapsed"}
    wanted = {
        "job": "toy",
        "state": "done",
        "step": 1,
        "epoch": 0,
        "samples": BATCH,
        "loss": "NaN",
        "metrics": {"accuracy": 0.5},
        "state_digest": "ab" * 32,
        "checkpoint": {"uri": "file:///runs/toy", "step": 1},
        "generations": 1,
        "redone_steps": 0,
    }
    assert {key: told[key] for key in wanted} == wanted


def test_a_job_that_nothing_happened_to_has_all_keys_too() -> None:
    told = JobStatus.of(train_job()).to_json(Ledger().totals(0.0))
    assert told["loss"] is None
    assert told["checkpoint"] is None
    assert told["workers"] == []
