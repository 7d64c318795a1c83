"""The environment that `torchrun` gives each process of a group, for programs that were written for it.

Source: `torch.distributed.elastic.agent.server.local_elastic_agent` and torchrun's documentation.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from orchestrator.scripts.job import ScriptJob
from workers.script.protocol import Up

_ROLE = "default"
#: The budget of restarts is not a number; programs only show it.
_RESTARTS_SHOWN = 100


def environments(job: ScriptJob, ups: Sequence[Up], attempt: int) -> tuple[dict[str, str], ...]:
    """What each rank is told, by rank.

    Args:
        ups: where they are, by rank; those of one node are neighbours.
        attempt: how often the group was started before.

    Raises:
        ValueError: the ranks of a node are not neighbours.
    """
    nodes = list(dict.fromkeys(up.node_id for up in ups))
    sizes = Counter(up.node_id for up in ups)
    if [up.node_id for up in ups] != [node for node in nodes for _ in range(sizes[node])]:
        raise ValueError("the ranks of a node are not neighbours")
    shared = {
        "WORLD_SIZE": str(len(ups)),
        "ROLE_WORLD_SIZE": str(len(ups)),
        "ROLE_NAME": _ROLE,
        "GROUP_WORLD_SIZE": str(len(nodes)),
        "MASTER_ADDR": ups[0].host,
        "MASTER_PORT": str(ups[0].port),
        "TORCHELASTIC_RUN_ID": job.run,
        "TORCHELASTIC_RESTART_COUNT": str(attempt),
        "TORCHELASTIC_MAX_RESTARTS": str(_RESTARTS_SHOWN),
        "TORCHELASTIC_USE_AGENT_STORE": str(False),  # rank 0 serves the store itself
        "TORCH_NCCL_ASYNC_ERROR_HANDLING": "1",
        "OMP_NUM_THREADS": str(max(1, int(job.cpus))),
        "LOCKSTEP_JOB": job.name,
        "LOCKSTEP_RUN": job.run,
    }
    seen: Counter[str] = Counter()
    found = []
    for rank, up in enumerate(ups):
        there = [other for other in ups if other.node_id == up.node_id]
        own = {
            "RANK": str(rank),
            "ROLE_RANK": str(rank),
            "LOCAL_RANK": str(seen[up.node_id]),
            "LOCAL_WORLD_SIZE": str(sizes[up.node_id]),
            "GROUP_RANK": str(nodes.index(up.node_id)),
            "CUDA_VISIBLE_DEVICES": ",".join(_gpus(there)),
        }
        found.append({**shared, **dict(job.environment), **own})
        seen[up.node_id] += 1
    return tuple(found)


def _gpus(there: Sequence[Up]) -> list[str]:
    """All GPUs of a node's ranks, such that `cuda:LOCAL_RANK` is each rank's own: first the first ones of
    all, then the second ones."""
    most = max((len(up.gpus) for up in there), default=0)
    return [up.gpus[turn] for turn in range(most) for up in there if turn < len(up.gpus)]
