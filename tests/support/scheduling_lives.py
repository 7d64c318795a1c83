"""Whole lives of small clusters out of a seed: the same things as in `scheduling`, without hypothesis.

Hypothesis finds small examples of what is wrong; this finds rare ones, as it is ten times as fast.
"""

from __future__ import annotations

from dataclasses import replace
from random import Random

from orchestrator.scheduler import Policy
from orchestrator.scheduler.config import QueueOrder
from orchestrator.scheduler.snapshot import Job, Node, NodeType, Within
from tests.support.scheduling import QUEUES, REQUESTS, config
from tests.support.tiny_cluster import TinyCluster, gpus

_CURVES: tuple[tuple[tuple[int, float], ...], ...] = ((), ((64, 64.0),), ((2, 1.8), (8, 4.0)))


def live(policy: Policy, seed: int, *, arrivals_max: int = 24) -> TinyCluster:
    """A cluster to the end of its last job. Whatever must be true is checked after every plan."""
    random = Random(f"{policy} {seed}")
    cluster = _cluster(random, policy)
    for number in range(random.randint(1, arrivals_max)):
        seconds = random.choice((3.0, 30.0, 300.0))
        job = _job(random, f"j{number}")
        exact = seconds if job.estimate is not None else None
        deadline = None if job.deadline is None else cluster.now + job.deadline
        cluster.submit(replace(job, estimate=exact, deadline=deadline), seconds)
        if len(cluster.nodes) > 1 and random.random() < 0.08:
            cluster.kill(sorted(cluster.nodes)[0])
        cluster.cycle()
        cluster.advance(random.choice((0.0, 2.0, 15.0, 100.0)))
    cluster.run()
    return cluster


def _cluster(random: Random, policy: Policy) -> TinyCluster:
    types = (NodeType(id="big", capacity=gpus(8), max_count=3, boot_seconds=40.0),)
    return TinyCluster(
        [
            Node(
                id=f"n{number}",
                capacity=gpus(random.choice((2, 4, 8))),
                zone=random.choice("ab"),
                labels=random.choice(({}, {"fast": "yes"})),
            )
            for number in range(random.randint(1, 5))
        ],
        config(
            policy,
            queue_order=random.choice(list(QueueOrder)),
            takings_max=random.choice((1, 2, 32)),
            reservations_max=random.choice((1, 3, 32)),
            patient_max=random.choice((0, 1, 8)),
        ),
        QUEUES,
        delay=random.choice((0.0, 1.0, 20.0)),
        types=random.choice(((), types)),
        seed=random.randint(0, 3),
    )


def _job(random: Random, id: str) -> Job:
    workers = random.choice((1, 1, 2, 3, 4, 8))
    return Job(
        id=id,
        queue=random.choice(QUEUES).id,
        user=random.choice(("ann", "bob")),
        priority=random.choice((0, 0, 0, 1, 5)),
        submitted_at=0.0,
        request=random.choice(REQUESTS),
        min_workers=workers,
        max_workers=workers * random.choice((1, 1, 2, 4)),
        selector=random.choice(({}, {}, {}, {"fast": "yes"})),
        within=random.choice((Within.ANYWHERE, Within.ANYWHERE, Within.ZONE, Within.NODE)),
        preemptible=random.random() < 0.75,
        min_runtime=random.choice((0.0, 20.0)),
        restart_cost=random.choice((0.0, 2.0)),
        estimate=random.choice((None, 5.0, 50.0, 500.0)),
        deadline=random.choice((None, 60.0, 600.0)),
        speed_curve=random.choice(_CURVES),
    )
