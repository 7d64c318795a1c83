"""How long `plan()` takes: p50 and p99 of each policy, cycle after cycle of a full cluster.

    python benchmarks/scheduler.py [--cycles 200] [--pending 5000] [--policy priority ...]

A cluster of 512 nodes with 8 GPUs each (elastic: 256, 2,048 GPUs) is filled with about 500 running jobs;
5,000 others wait: gangs of 1 to 64 one-GPU workers, of 8 queues, 5 priorities and 10 shapes, half of them
with an estimate, a quarter elastic. Between two plans the plan before is carried out, up to 8 jobs end, and
as many arrive. In every tenth cycle a rack of 16 nodes falls empty, so that many start at once. Only `plan()`
is timed, by the wall and in CPU time, which counts where a machine is shared.
"""

from __future__ import annotations

import argparse
import gc
import random
import statistics
import time
from collections.abc import Sequence
from dataclasses import replace

from orchestrator.scheduler import Config, Plan, Policy, Snapshot, plan
from orchestrator.scheduler.actions import Preempt, Resize, Start
from orchestrator.scheduler.snapshot import Allocation, Job, JobState, Node, Place, Queue, Resources

GPUS_PER_NODE, RACK, RUNNING = 8, 16, 500
#: One worker's; the CPUs and the memory tell shapes apart.
SHAPES = [
    Resources(cpu_millis=1000 * cpus, gpu_millis=1000, memory_mib=memory)
    for cpus in (1, 2, 3, 4, 6)
    for memory in (8192, 16384)
]
TARGET_MS = {Policy.ELASTIC: 1000.0}


class World:
    """Just enough of a cluster to have the next snapshot."""

    def __init__(self, policy: Policy, nodes: int, pending: int, seed: int) -> None:
        self.random, self.policy, self.now, self.count = random.Random(seed), policy, 0.0, 0
        capacity = Resources(cpu_millis=96_000, gpu_millis=8000, memory_mib=1_000_000)
        self.nodes = tuple(
            Node(id=f"node-{n:04}", capacity=capacity, zone=f"zone-{n % 4}", labels={"gpu": "h100"})
            for n in range(nodes)
        )
        self.queues = tuple(Queue(id=f"team-{n}", weight=1 + n % 3) for n in range(8))
        self.jobs: dict[str, Job] = {}
        self.held: dict[str, tuple[Place, ...]] = {}
        self.last = Plan()
        self.fill()
        for _ in range(pending):
            self.arrive()

    def fill(self) -> None:
        """About 500 jobs that use all GPUs."""
        slots = [node.id for node in self.nodes for _ in range(GPUS_PER_NODE)]
        each = len(slots) // RUNNING
        while slots:
            workers = min(len(slots), self.random.randint(1, 2 * each - 1))
            taken, slots = slots[:workers], slots[workers:]
            job = self.job(workers, self.random.uniform(-20_000, 0))
            began = min(0.0, job.submitted_at + 100)
            self.jobs[job.id] = replace(
                job, state=JobState.RUNNING, started_at=began, last_change_at=began, restart_cost=20.0
            )
            names = sorted(set(taken))
            self.held[job.id] = tuple(Place(node=name, workers=taken.count(name)) for name in names)

    def job(self, workers: int, submitted_at: float) -> Job:
        draw = self.random
        self.count += 1
        return Job(
            id=f"job-{self.count}",
            queue=draw.choice(self.queues).id,
            user=f"user-{draw.randrange(40)}",
            priority=draw.choice((0, 0, 0, 0, 1, 1, 2, 3, 4)),
            submitted_at=submitted_at,
            last_change_at=submitted_at,
            request=draw.choice(SHAPES),
            min_workers=workers,
            max_workers=workers * draw.choice((1, 1, 1, 4)),
            estimate=draw.choice((None, draw.uniform(600, 80_000))),
            deadline=draw.choice((None, submitted_at + draw.uniform(3600, 300_000))),
            restart_cost=20.0,
        )

    def arrive(self) -> None:
        job = self.job(self.random.choice((1, 1, 1, 2, 4, 8, 8, 16, 32, 64)), self.now)
        self.jobs[job.id] = job

    def pass_time(self, cycle: int) -> None:
        """The last plan is carried out; jobs end and arrive."""
        for action in self.last.actions:
            match action:
                case Start(job=id, placement=placement):
                    self.held[id] = placement
                    began = {"started_at": self.now, "last_change_at": self.now}
                    self.jobs[id] = replace(self.jobs[id], state=JobState.RUNNING, **began)
                case Resize(job=id, placement=placement):
                    self.held[id] = placement
                    self.jobs[id] = replace(self.jobs[id], last_change_at=self.now)
                case Preempt(job=id):
                    del self.held[id]
                    self.jobs[id] = replace(self.jobs[id], state=JobState.PENDING, last_change_at=self.now)
        self.now += 30.0
        ending = self.random.sample(sorted(self.held), self.random.randint(0, min(8, len(self.held))))
        if cycle % 10 == 9:
            first = self.random.randrange(len(self.nodes) // RACK) * RACK
            rack = {node.id for node in self.nodes[first : first + RACK]}
            ending += [id for id, places in self.held.items() if any(place.node in rack for place in places)]
        for id in set(ending):
            del self.held[id], self.jobs[id]
            self.arrive()

    def snapshot(self) -> Snapshot:
        return Snapshot(
            now=self.now,
            jobs=tuple(self.jobs.values()),
            nodes=self.nodes,
            queues=self.queues,
            allocations=tuple(
                Allocation(job=id, node=place.node, workers=place.workers)
                for id, places in self.held.items()
                for place in places
            ),
            reservations=self.last.reservations,
            policy_state=self.last.policy_state,
        )


def measure(policy: Policy, cycles: int, pending: int, seed: int) -> tuple[list[float], list[float], str]:
    """Milliseconds of each plan, by the wall and of the processor; and what they decided, in words."""
    world = World(policy, 256 if policy is Policy.ELASTIC else 512, pending, seed)
    config = Config(policy=policy)
    spent, computed, kinds = [], [], dict.fromkeys(("start", "resize", "preempt", "reserve"), 0)
    for cycle in range(cycles):
        snapshot = world.snapshot()
        gc.collect()  # the world's garbage, not the scheduler's
        began, computing = time.perf_counter(), time.process_time()
        world.last = plan(snapshot, config)
        spent.append(1000 * (time.perf_counter() - began))
        computed.append(1000 * (time.process_time() - computing))
        for action in world.last.actions:
            kinds[action.kind] = kinds.get(action.kind, 0) + 1
        world.pass_time(cycle)
    words = ", ".join(f"{count / cycles:.1f} × {kind}" for kind, count in kinds.items())
    return spent, computed, words


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--cycles", type=int, default=200)
    parser.add_argument("--pending", type=int, default=5000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--policy", nargs="*", type=Policy, default=list(Policy), choices=list(Policy))
    options = parser.parse_args(arguments)
    print(f"{options.cycles} cycles, {options.pending} pending; milliseconds, the last three of CPU time")
    names = "".join(f"{name:>8}" for name in ("p50", "p99", "max") * 2)
    print(f"  {'policy':10}{names}   p99 below   in a cycle")
    for policy in options.policy:
        *times, words = measure(policy, options.cycles, options.pending, options.seed)
        numbers = ""
        for spent in times:
            p50, p99 = statistics.median(spent), statistics.quantiles(spent, n=100)[98]
            numbers += f"{p50:8.1f}{p99:8.1f}{max(spent):8.1f}"
        target = TARGET_MS.get(policy, 100.0)
        print(f"  {policy:10}{numbers}{target:12.0f}   {words}", flush=True)


if __name__ == "__main__":
    main()
