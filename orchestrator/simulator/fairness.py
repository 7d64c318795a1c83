"""What queues would have if each had its share of the cluster to itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from orchestrator.scheduler import Config, Policy
from orchestrator.scheduler.snapshot import Queue
from orchestrator.simulator.setting import Setting, gpus
from orchestrator.simulator.simulation import Simulation
from orchestrator.simulator.trace import TraceJob

#: Of jobs that wait in a queue of its own so many are looked at: backfill reaches no further.
_DEPTH = 100


def equal_shares(jobs: Sequence[TraceJob], total: int) -> dict[str, int]:
    """GPUs by queue: the same for all; what is left over goes to the first ones."""
    queues = sorted({job.queue for job in jobs})
    return {
        queue: total // len(queues) + (number < total % len(queues)) for number, queue in enumerate(queues)
    }


def shares_by_demand(jobs: Sequence[TraceJob], total: int) -> dict[str, int]:
    """GPUs by queue: its largest gang at least, if there are so many; the rest by the work that it brings."""
    least: dict[str, int] = {}
    work: dict[str, float] = {}
    for job in jobs:
        least[job.queue] = max(least.get(job.queue, 1), min(job.min_workers, total))
        work[job.queue] = work.get(job.queue, 0.0) + job.seconds * job.gpus
    every = sum(least.values())
    if every >= total:
        return {queue: max(1, size * total // every) for queue, size in sorted(least.items())}
    # Whose largest gang is more than his part takes no part in the rest, which makes that smaller: again.
    sharing = set(least)
    while True:
        pool = total - sum(size for queue, size in least.items() if queue not in sharing)
        whole = sum(work[queue] for queue in sharing) or 1.0
        settled = {queue for queue in sharing if work[queue] / whole * pool < least[queue]}
        if not settled:
            break
        sharing -= settled
    shares = {q: int(work[q] / whole * pool) if q in sharing else size for q, size in least.items()}
    over = total - sum(shares.values())
    for queue in sorted(sharing, key=lambda queue: (-work[queue], queue))[:over]:
        shares[queue] += 1
    return dict(sorted(shares.items()))


def queues_of(shares: Mapping[str, int]) -> tuple[Queue, ...]:
    """Queues that can always have their shares back."""
    return tuple(Queue(id=queue, weight=max(1, share), quota=gpus(share)) for queue, share in shares.items())


def alone(
    setting: Setting, jobs: Sequence[TraceJob], shares: Mapping[str, int]
) -> dict[str, dict[str, float]]:
    """Queue → job → seconds from its submission to its end, first come first served with backfill.

    Each queue has nodes of its own that are as large as the cluster's, and one smaller for the rest. Jobs
    that do not fit there are left out.
    """
    found: dict[str, dict[str, float]] = {}
    each = max(node.capacity.gpu_millis // 1000 for node in setting.nodes)
    for queue, share in shares.items():
        sizes = [each] * (share // each) + ([share % each] if share % each else [])
        nodes = tuple(
            replace(setting.nodes[0], id=f"own-{number:04}", capacity=gpus(size))
            for number, size in enumerate(sizes)
        )
        own = replace(setting, nodes=nodes, types=(), queues=(Queue(id=queue),), depth=_DEPTH)
        simulation = Simulation(
            own, [job for job in jobs if job.queue == queue], Config(policy=Policy.PRIORITY)
        )
        simulation.run()
        found[queue] = {
            id: life.ended - life.job.submitted_at
            for id, life in simulation.lives.items()
            if life.ended is not None
        }
    return found
