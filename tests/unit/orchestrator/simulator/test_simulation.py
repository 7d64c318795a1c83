"""Simulated clusters: exact where one can work it out by hand, and sound whatever happens."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.scheduler import Config, Policy
from orchestrator.scheduler.snapshot import NodeType, Queue, Within
from orchestrator.simulator import Costs, Faults, Setting, Simulation, TraceJob, machines, outcome_of
from orchestrator.simulator.setting import gpus
from tests.support.examples import examples

FREE = Costs(start=0.0, restart=0.0, stop=0.0, resize=0.0, checkpoint_every=0.0)
QUEUES = (Queue(id="q"), Queue(id="p"))


def job(id, at=0.0, seconds=100.0, size=1, **fields):
    known = {"queue": "q", "min_workers": size, "max_workers": size}
    return TraceJob(id=id, submitted_at=at, seconds=seconds, gpus=size, **{**known, **fields})


def setting(count=1, each=8, **fields):
    known = {"queues": QUEUES, "costs": FREE, "nodes": machines(count, each)}
    return Setting(**{**known, **fields})


def run(jobs, policy=Policy.PRIORITY, config=None, **fields):
    simulation = Simulation(setting(**fields), jobs, config or Config(policy=policy))
    simulation.run()
    return simulation


def ends(simulation):
    return {id: life.ended for id, life in simulation.lives.items()}


def test_a_job_alone_takes_its_time_and_its_start():
    assert ends(run([job("j", at=5.0)])) == {"j": 105.0}
    assert ends(run([job("j", at=5.0)], costs=replace(FREE, start=7.0))) == {"j": 112.0}


def test_who_finds_no_room_waits_for_it():
    found = run([job("a", size=8), job("b", at=10.0, size=8, seconds=5.0)])
    assert ends(found) == {"a": 100.0, "b": 105.0}
    assert outcome_of(found).queueing.max == 90.0


def test_in_rounds_ends_and_arrivals_are_noticed_late():
    found = run([job("a", size=8), job("b", at=10.0, size=8, seconds=5.0)], round_seconds=60.0)
    assert ends(found) == {"a": 100.0, "b": 125.0}


def test_a_preempted_job_pays_for_its_stop_and_its_restart_and_loses_nothing():
    low = job("low", size=8, seconds=1000.0)
    high = job("high", at=500.0, size=8, priority=1, seconds=50.0)
    costs = Costs(start=0.0, restart=30.0, stop=5.0)
    found = run([low, high], costs=costs)
    assert ends(found) == {"high": 555.0, "low": 555.0 + 30.0 + 500.0}
    life = found.lives["low"]
    assert (life.preemptions, life.productive, life.overhead, life.lost) == (1, 8000.0, 240.0, 0.0)
    assert found.meter.held == 8 * (1000.0 + 5.0 + 50.0 + 30.0)


def test_an_elastic_job_uses_what_is_spare_along_its_curve_and_gives_it_back():
    curve = ((1, 1.0), (2, 2.0), (8, 5.0))
    stretched = job("e", seconds=100.0, size=1, max_workers=8, speedup=curve)
    assert ends(run([stretched], Policy.ELASTIC)) == {"e": 20.0}
    # 10 s with 8 workers, then 6 for somebody else, who needs them for 5 s; then 8 again.
    quick = Config(policy=Policy.ELASTIC, resize_every=0.0)
    found = run([stretched, job("b", at=10.0, size=6, seconds=5.0)], config=quick)
    assert ends(found)["b"] == 15.0
    assert ends(found)["e"] == pytest.approx(10.0 + 5.0 + (100.0 - 50.0 - 10.0) / 5.0)


def test_a_node_that_fails_takes_what_was_done_since_the_checkpoint():
    faults = Faults(node_seconds=150.0, repair_seconds=40.0)
    costs = replace(FREE, checkpoint_every=50.0)
    found = run([job("j", seconds=400.0, size=2)], faults=faults, costs=costs, seed=1)
    life = found.lives["j"]
    assert life.failures > 0
    assert 0.0 <= life.lost < 50.0 * 2 * life.failures
    assert life.productive == pytest.approx(800.0)
    assert life.ended == pytest.approx(400.0 + life.lost / 2 + 40.0 * life.failures)


def test_survivors_go_on_if_they_are_enough():
    faults = Faults(node_seconds=2000.0, repair_seconds=1e6)
    jobs = [job("j", seconds=1000.0, size=2, min_workers=1)]
    found = run(jobs, count=2, each=1, faults=faults, seed=2)
    life = found.lives["j"]
    assert (life.failures, life.lost, life.job.restarts) == (1, 0.0, 0)


def test_spot_nodes_are_left_before_they_go():
    faults = Faults(spot_seconds=3000.0, notice_seconds=120.0, repair_seconds=60.0)
    nodes = machines(4, 4, spot=4, spot_price=1.0)
    jobs = [job(f"j{n}", seconds=20000.0, size=4) for n in range(3)]
    found = run(jobs, nodes=nodes, faults=faults, costs=Costs())
    assert sum(life.failures for life in found.lives.values()) == 0
    assert sum(life.resizes for life in found.lives.values()) > 0


def test_nodes_are_added_for_who_needs_them_go_when_they_are_idle_and_are_paid_for():
    type = NodeType(id="added", capacity=gpus(8), max_count=2, boot_seconds=100.0, price=36.0)
    jobs = [job("small", size=8, seconds=1000.0), job("large", size=16, at=10.0, seconds=50.0)]
    config = Config(idle_seconds=300.0)
    found = run(jobs, config=config, types=(type,), nodes=machines(1, 8, price=3.6))
    assert ends(found) == {"small": 1000.0, "large": 10.0 + 100.0 + 50.0}
    # Two nodes from 10 s on until 300 s after the job's end at 160 s.
    expected = 1000.0 * 0.001 + 2 * 450.0 * 0.01
    assert found.meter.cost == pytest.approx(expected)


def test_a_job_that_is_too_large_is_left_out_and_told():
    found = run([job("j", size=9), job("k", size=8, within=Within.NODE), job("l")])
    outcome = outcome_of(found)
    assert (outcome.jobs, outcome.finished, outcome.impossible) == (3, 2, 1)


TRACES = st.lists(
    st.tuples(
        st.integers(1, 12),
        st.sampled_from((1.0, 40.0, 400.0, 5000.0)),
        st.sampled_from((0.0, 3.0, 100.0)),
        st.sampled_from((1, 1, 2, 4)),
        st.sampled_from(("q", "p")),
        st.integers(0, 2),
    ),
    min_size=1,
    max_size=25,
)


@pytest.mark.parametrize("policy", list(Policy))
@examples(40)
@given(
    trace=TRACES,
    faults=st.booleans(),
    added=st.booleans(),
    rounds=st.sampled_from((0.0, 60.0)),
    seed=st.integers(0, 9),
)
def test_all_jobs_end_and_every_gpu_second_is_accounted_for(policy, trace, faults, added, rounds, seed):
    at, jobs = 0.0, []
    for number, (size, seconds, pause, stretch, queue, priority) in enumerate(trace):
        at += pause
        jobs.append(
            job(
                *(f"j{number}", at, seconds, size),
                queue=queue,
                priority=priority,
                min_workers=max(1, size // stretch),
                max_workers=size * stretch,
                estimate=seconds if number % 2 else None,
                deadline=10 * seconds if number % 3 == 0 else None,
            )
        )
    world = setting(
        nodes=machines(3, 4, zones=2, spot=1),
        costs=Costs(checkpoint_every=60.0),
        faults=Faults(node_seconds=20_000.0, spot_seconds=10_000.0) if faults else Faults(),
        types=(NodeType(id="added", capacity=gpus(4), max_count=2),) if added else (),
        round_seconds=rounds,
        seed=seed,
    )
    simulation = Simulation(world, jobs, Config(policy=policy))
    simulation.run()
    for life in simulation.lives.values():
        assert life.ended is not None
        assert life.left == pytest.approx(0.0, abs=1e-6)
        assert life.at_work <= life.ended - life.job.submitted_at + 1e-6
        if life.trace.min_workers == life.trace.max_workers:
            assert life.productive == pytest.approx(life.trace.seconds * life.trace.gpus, abs=1e-3)
    lives = simulation.lives.values()
    spent = sum(life.productive + life.overhead + life.lost for life in lives)
    assert spent <= simulation.meter.held + 1e-3  # the rest: saving before a stop, workers that leave
    assert simulation.meter.held <= simulation.meter.there + 1e-6
    again = Simulation(world, jobs, Config(policy=policy))
    again.run()
    assert outcome_of(again) == outcome_of(simulation)
