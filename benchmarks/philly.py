"""A trace of a real cluster under each policy: how good the scheduler is, and how fast it is replayed.

    PYTHONPATH=. python benchmarks/philly.py TRACE.csv [--from 2381359] [--round 300] [--only service ...]

Meant for Microsoft's Philly trace (columns: see docs/simulator.md). The first submissions are left out, as
the trace is thin there. Each policy is replayed on 64 nodes of 8 GPUs in one process, on one core; seconds
are its CPU time. `fifo` is the priority policy without priorities and estimates: first come, first served,
with backfill beside what is promised. `elastic` lets every job use from 1 GPU to four times its own, and lose
nothing (perfect scaling). Finish-time ratios count on shares by the work that queues bring.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence

from orchestrator.scheduler import Policy
from orchestrator.simulator.compare import Shares, Study
from orchestrator.simulator.trace import TraceJob, elastic, read_trace

#: name → policy, whether jobs are made elastic.
RUNS = {
    "fifo": (Policy.PRIORITY, False),
    "fair": (Policy.FAIR, False),
    "service": (Policy.SERVICE, False),
    "elastic": (Policy.ELASTIC, True),
    "deadline": (Policy.DEADLINE, False),
}
#: What the issue of the scheduler asks for: (number, at most).
TARGETS = {"service": "mean at most 4.9 h", "elastic": "mean at most 3.5 h", "fair": "ratio at most 1.2"}


def measure(name: str, jobs: Sequence[TraceJob], options: argparse.Namespace) -> None:
    policy, stretched = RUNS[name]
    study = Study(
        jobs=elastic(jobs, options.stretch) if stretched else jobs,
        nodes=options.nodes,
        gpus_per_node=8,
        shares=Shares.DEMAND,
        fairness=False,
        round_seconds=options.round,
    )
    began = time.process_time()
    ((_, simulation, found),) = study.run([policy])
    seconds = time.process_time() - began
    ratio = "-"
    if options.fairness and not stretched:
        from orchestrator.simulator.outcome import outcome_of

        worst = outcome_of(simulation, study.own_shares()).worst_ratio
        ratio = f"{worst:.2f}" if worst is not None else "-"
    print(
        f"  {name:10}{found.completion.mean / 3600:8.2f}{found.completion.p50 / 3600:8.2f}"
        f"{found.completion.p99 / 3600:9.1f}{found.queueing.mean / 3600:8.2f}{found.queueing.max / 3600:9.1f}"
        f"{found.first_wait.max / 3600:9.1f}{100 * found.utilisation:7.1f}{100 * found.goodput:8.1f}"
        f"{found.preemptions:9.3f}{found.resizes:8.2f}{ratio:>7}{found.cycles:9,}{seconds:8.1f}"
        f"  {TARGETS.get(name, '')}",
        flush=True,
    )


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("trace")
    parser.add_argument("--from", dest="begin", type=float, default=2_381_359)
    parser.add_argument("--nodes", type=int, default=64)
    parser.add_argument("--round", type=float, default=0.0)
    parser.add_argument("--stretch", type=int, default=4)
    parser.add_argument("--first", type=int, default=None, help="only so many jobs")
    parser.add_argument("--no-fairness", dest="fairness", action="store_false")
    parser.add_argument("--only", nargs="*", choices=list(RUNS), default=list(RUNS))
    options = parser.parse_args(arguments)
    jobs = [job for job in read_trace(options.trace) if job.submitted_at >= options.begin][: options.first]
    rounds = f"rounds of {options.round:g} s" if options.round else "event by event"
    print(f"{len(jobs):,} jobs on {options.nodes * 8} GPUs, {rounds}; times in hours, replay in CPU seconds")
    print(
        f"  {'':10}{'mean':>8}{'p50':>8}{'p99':>9}{'queued':>8}{'longest':>9}{'1st wait':>9}"
        f"{'used %':>7}{'good %':>8}{'preempt':>9}{'resize':>8}{'ratio':>7}{'plans':>9}{'replay':>8}"
    )
    for name in options.only:
        measure(name, jobs, options)


if __name__ == "__main__":
    main()
