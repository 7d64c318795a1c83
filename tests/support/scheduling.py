"""Random clusters, queues and jobs for the scheduler's property tests, as hypothesis strategies."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import strategies as st

from orchestrator.scheduler import Config, Policy, Snapshot
from orchestrator.scheduler.snapshot import (
    Allocation,
    Job,
    JobState,
    Limit,
    Node,
    NodeState,
    NodeType,
    Queue,
    Resources,
    Within,
)
from tests.support.tiny_cluster import TinyCluster, gpus

QUEUES = (
    Queue(id="q"),
    Queue(id="wide", weight=3),
    Queue(id="tight", limit=Limit(gpu_millis=6000), user_limit=Limit(gpu_millis=4000)),
    Queue(id="given", quota=gpus(4)),
)
POLICIES = list(Policy)
REQUESTS = [gpus(1), gpus(1), gpus(2), Resources(cpu_millis=1500), Resources(cpu_millis=500, gpu_millis=500)]


def nodes(least: int = 1, most: int = 5) -> st.SearchStrategy[list[Node]]:
    """Nodes in two zones, of a few sizes, some with a label."""
    one = st.tuples(st.sampled_from((2, 4, 8)), st.sampled_from("ab"), st.booleans())
    return st.lists(one, min_size=least, max_size=most).map(
        lambda found: [
            Node(id=f"n{i}", capacity=gpus(size), zone=zone, labels={"fast": "yes"} if fast else {})
            for i, (size, zone, fast) in enumerate(found)
        ]
    )


@st.composite
def jobs(draw: st.DrawFn, id: str, *, rigid: bool = False) -> Job:
    """A pending job that may ask for anything."""
    workers = draw(st.sampled_from((1, 1, 2, 3, 4, 8)))
    return Job(
        id=id,
        queue=draw(st.sampled_from([queue.id for queue in QUEUES])),
        user=draw(st.sampled_from(("ann", "bob"))),
        priority=draw(st.sampled_from((0, 0, 0, 1, 5))),
        submitted_at=0.0,
        request=draw(st.sampled_from(REQUESTS)),
        min_workers=workers,
        max_workers=workers if rigid else workers * draw(st.sampled_from((1, 1, 2, 4))),
        selector=draw(st.sampled_from(({}, {}, {}, {"fast": "yes"}))),
        within=draw(st.sampled_from((Within.ANYWHERE, Within.ANYWHERE, Within.ZONE, Within.NODE))),
        preemptible=draw(st.sampled_from((True, True, True, False))),
        min_runtime=draw(st.sampled_from((0.0, 20.0))),
        restart_cost=draw(st.sampled_from((0.0, 2.0))),
        estimate=draw(st.sampled_from((None, 5.0, 50.0, 500.0))),
        deadline=draw(st.sampled_from((None, 60.0, 600.0))),
        speed_curve=draw(st.sampled_from(((), ((64, 64.0),), ((2, 1.8), (8, 4.0))))),
    )


@st.composite
def snapshots(draw: st.DrawFn, *, pending: int = 8, at_work: int = 8) -> Snapshot:
    """One moment: jobs at work where there was room, nodes of all states, and jobs that wait."""
    machines = draw(nodes(1, 6))
    states = st.sampled_from(
        (NodeState.UP, NodeState.UP, NodeState.UP, NodeState.BOOTING, NodeState.DRAINING)
    )
    machines = [replace(node, state=draw(states), eta=150.0) for node in machines]
    free = {
        node.id: node.capacity.gpu_millis // 1000 for node in machines if node.state is not NodeState.BOOTING
    }
    found, allocations = [], []
    for number in range(draw(st.integers(0, at_work))):
        job = replace(draw(jobs(f"r{number}")), request=gpus(1), selector={}, within=Within.ANYWHERE)
        state = draw(
            st.sampled_from((JobState.RUNNING, JobState.RUNNING, JobState.STARTING, JobState.STOPPING))
        )
        wanted = draw(st.integers(job.min_workers, job.max_workers))
        spots: dict[str, int] = {}
        for name in sorted(free):
            here = min(free[name], wanted - sum(spots.values()))
            if here:
                spots[name] = here
        if sum(spots.values()) < wanted:
            continue
        since = draw(st.sampled_from((0.0, 50.0, 99.0)))
        found.append(replace(job, state=state, started_at=since, last_change_at=since))
        for name, count in spots.items():
            free[name] -= count
            leaving = count if state is JobState.STOPPING else 0
            allocations.append(Allocation(job=job.id, node=name, workers=count, leaving=leaving))
    for number in range(draw(st.integers(0, pending))):
        at = draw(st.sampled_from((0.0, 10.0, 90.0)))
        found.append(replace(draw(jobs(f"p{number}")), submitted_at=at, last_change_at=at))
    types = draw(st.sampled_from(((), (NodeType(id="big", capacity=gpus(8), max_count=3),))))
    return Snapshot(
        now=100.0,
        jobs=tuple(found),
        nodes=tuple(machines),
        queues=QUEUES,
        allocations=tuple(allocations),
        node_types=types,
        seed=draw(st.integers(0, 3)),
    )


def config(policy: Policy, **fields: object) -> Config:
    """Limits of a size that small tests reach."""
    small = {"service_levels": (60.0,), "promote_after": 2000.0, "resize_every": 10.0, "ageing": 100.0}
    return Config(policy=policy, **{**small, **fields})  # type: ignore[arg-type]


@st.composite
def clusters(draw: st.DrawFn, policy: Policy, **fields: object) -> TinyCluster:
    """A cluster in which nothing has happened yet."""
    delay = draw(st.sampled_from((0.0, 1.0, 20.0)))
    types = draw(
        st.sampled_from(((), (NodeType(id="big", capacity=gpus(8), max_count=3, boot_seconds=40.0),)))
    )
    machines = draw(nodes(1, 4))
    bounds = {
        "takings_max": draw(st.sampled_from((1, 2, 32))),
        "reservations_max": draw(st.sampled_from((1, 2, 32))),
        "patient_max": draw(st.sampled_from((0, 1, 8))),
    }
    return TinyCluster(
        machines,
        config(policy, **{**bounds, **fields}),
        QUEUES,
        delay=delay,
        types=types,
        seed=draw(st.integers(0, 3)),
    )


def live(draw: st.DrawFn, cluster: TinyCluster, count: int = 14) -> None:
    """Jobs arrive, now and then a node dies, and the scheduler has its turn in between."""
    for number in range(draw(st.integers(1, count))):
        seconds = draw(st.sampled_from((3.0, 30.0, 300.0)))
        job = draw(jobs(f"j{number}"))
        exact = seconds if job.estimate is not None else None
        deadline = None if job.deadline is None else cluster.now + job.deadline
        cluster.submit(replace(job, estimate=exact, deadline=deadline), seconds)
        if len(cluster.nodes) > 1 and draw(st.integers(0, 12)) == 0:
            cluster.kill(sorted(cluster.nodes)[0])
        cluster.cycle()
        cluster.advance(draw(st.sampled_from((0.0, 2.0, 15.0, 100.0))))
