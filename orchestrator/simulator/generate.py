"""Traces out of a seed, of the kind that clusters of many users have.

Most jobs are small and short, and a few large and long ones are most of the work; more is submitted by day;
some users submit far more than others. The numbers follow what was found in such clusters (Jeon et al.,
"Analysis of Large-Scale Multi-Tenant GPU Clusters", USENIX ATC 2019).
"""

from __future__ import annotations

import csv
from collections.abc import Iterable
from math import cos, pi
from pathlib import Path
from random import Random

from orchestrator.simulator.trace import OPTIONAL, REQUIRED, TraceJob

_SIZES = {1: 0.80, 2: 0.05, 4: 0.06, 8: 0.06, 16: 0.02, 32: 0.01}
#: Of the logarithm of seconds: half take less than 15 minutes, one in a hundred more than a week.
_LOG_MEDIAN, _LOG_SPREAD = 6.8, 2.2
_LONGEST_SECONDS = 30 * 86400.0


def generate(
    count: int, *, gpus: int, load: float = 0.8, queues: int = 5, elastic: float = 0.25, seed: int = 0
) -> list[TraceJob]:
    """A trace.

    Args:
        count: of jobs.
        gpus: of the cluster that they are for.
        load: their work, by what the cluster can do in the time in which they are submitted.
        queues: of which each has half as many jobs as the one before.
        elastic: which part of the jobs can use a quarter to four times its GPUs.
    """
    random = Random(seed)
    sizes = {size: share for size, share in _SIZES.items() if size <= max(1, gpus // 2)}
    drawn = random.choices(list(sizes), list(sizes.values()), k=count)
    seconds = [
        min(_LONGEST_SECONDS, max(10.0, random.lognormvariate(_LOG_MEDIAN, _LOG_SPREAD))) for _ in drawn
    ]
    span = sum(size * time for size, time in zip(drawn, seconds, strict=True)) / (gpus * load)
    jobs = []
    for number, at in enumerate(_moments(random, count, span)):
        size, time = drawn[number], round(seconds[number], 1)
        queue = random.choices(range(queues), [2.0**-n for n in range(queues)])[0]
        stretches = random.random() < elastic
        jobs.append(
            TraceJob(
                id=f"job-{number}",
                submitted_at=round(at, 1),
                seconds=time,
                gpus=size,
                queue=f"team-{queue}",
                user=f"user-{queue}-{int(random.paretovariate(1.2)) % 20}",
                priority=random.choices((0, 1, 2), (8, 1, 1))[0],
                min_workers=max(1, size // 4) if stretches else size,
                max_workers=min(gpus, size * 4) if stretches else size,
                estimate=round(time * random.uniform(1.0, 3.0), 1) if random.random() < 0.5 else None,
            )
        )
    return jobs


def _moments(random: Random, count: int, span: float) -> list[float]:
    """Submissions in a span of seconds, three times as many at noon as at midnight."""
    found: list[float] = []
    while len(found) < count:
        at = random.uniform(0.0, span)
        if random.random() < 0.5 - 0.25 * cos(2 * pi * at / 86400):
            found.append(at)
    return sorted(found)


def write_trace(path: str | Path, jobs: Iterable[TraceJob]) -> None:
    """As `read_trace` reads it. An existing file is not overwritten (FileExistsError)."""
    with open(path, "x", newline="", encoding="utf-8") as file:
        rows = csv.writer(file, lineterminator="\n")
        rows.writerow((*REQUIRED, *OPTIONAL))
        for job in jobs:
            speedup = " ".join(f"{workers}:{speed:g}" for workers, speed in job.speedup)
            rows.writerow(
                (
                    *(job.id, job.submitted_at, job.seconds, job.gpus, job.queue),
                    *(job.user, job.priority, job.min_workers, job.max_workers),
                    *("" if value is None else value for value in (job.deadline, job.estimate)),
                    *(speedup, job.within),
                )
            )
