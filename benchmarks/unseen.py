"""Policies on traces that nobody tuned them on: generated ones, and halves of a real one.

    PYTHONPATH=. python benchmarks/unseen.py [--trace TRACE.csv --from 2381359] [--seeds 1 2 3] [--jobs 5000]

Mean hours from submission to end, for: first come, first served with backfill (`fifo`); the shortest first,
by how long jobs really take, nobody stopped (`shortest`, which no scheduler can know); least attained service
with the levels as they are (`service`), and with one level of 1 or of 8 GPU-hours. `--trace` is cut in two in
the middle of its submissions.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from dataclasses import replace
from math import log2

from orchestrator.scheduler import Config, Policy
from orchestrator.simulator.compare import Study
from orchestrator.simulator.generate import generate
from orchestrator.simulator.options import Options
from orchestrator.simulator.trace import TraceJob, read_trace

GPUS_PER_NODE = 8
#: name → policy, whether priorities say how long jobs take, what else is configured.
RUNS: dict[str, tuple[Policy, bool, Config]] = {
    "fifo": (Policy.PRIORITY, False, Config()),
    "shortest": (Policy.PRIORITY, True, Config(ageing=1e9, preemption=False)),
    "service": (Policy.SERVICE, False, Config()),
    "1 level of 1 h": (Policy.SERVICE, False, Config(service_levels=(3600.0,))),
    "1 level of 8 h": (Policy.SERVICE, False, Config(service_levels=(28_800.0,))),
}


def plain(jobs: Sequence[TraceJob], *, by_length: bool) -> list[TraceJob]:
    """Rigid, without anything that users say; `by_length`: a shorter one has a higher priority."""
    return [
        replace(
            job,
            priority=-round(16 * log2(max(1.0, job.seconds))) if by_length else 0,
            min_workers=job.gpus,
            max_workers=job.gpus,
            estimate=None,
            deadline=None,
        )
        for job in jobs
    ]


def mean_hours(name: str, jobs: Sequence[TraceJob], nodes: int, round_seconds: float) -> float:
    """From submission to end, under one of `RUNS`."""
    policy, by_length, config = RUNS[name]
    study = Study(
        jobs=plain(jobs, by_length=by_length),
        nodes=nodes,
        gpus_per_node=GPUS_PER_NODE,
        options=Options(policy=config),
        fairness=False,
        round_seconds=round_seconds,
    )
    ((_, _, found),) = study.run([policy])
    return found.completion.mean / 3600


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--trace")
    parser.add_argument("--from", dest="begin", type=float, default=0.0)
    parser.add_argument("--seeds", nargs="*", type=int, default=[1, 2, 3])
    parser.add_argument("--jobs", type=int, default=5000)
    parser.add_argument("--nodes", type=int, default=64)
    parser.add_argument("--load", type=float, default=0.9)
    parser.add_argument("--round", type=float, default=300.0)
    options = parser.parse_args(arguments)
    gpus = options.nodes * GPUS_PER_NODE
    traces = {
        f"generated, seed {seed}": generate(options.jobs, gpus=gpus, load=options.load, seed=seed)
        for seed in options.seeds
    }
    if options.trace:
        jobs = [job for job in read_trace(options.trace) if job.submitted_at >= options.begin]
        middle = len(jobs) // 2
        traces |= {"first half": jobs[:middle], "second half": jobs[middle:]}
    print("".join([f"  {'mean hours':20}", *(f"{name:>16}" for name in RUNS), f"{'CPU s':>10}"]))
    for trace, jobs in traces.items():
        began = time.process_time()
        found = [mean_hours(name, jobs, options.nodes, options.round) for name in RUNS]
        numbers = "".join(f"{hours:16.2f}" for hours in found)
        print(f"  {trace:20}{numbers}{time.process_time() - began:10.1f}", flush=True)


if __name__ == "__main__":
    main()
