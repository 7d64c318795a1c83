"""What a script job is, and how patient to be with it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from orchestrator.gang.policy import BUDGETS as GANG_BUDGETS
from workers.protocol import Fault

#: Failures of each class that may happen without the group having settled in between; None for any number.
#: An error in the program's own code may be what a dying peer causes, so it has another try; the same error
#: twice in a row ends the job.
BUDGETS: Mapping[Fault, int | None] = {**GANG_BUDGETS, Fault.USER: 3}


@dataclass(frozen=True, kw_only=True)
class ScriptJob:
    """Fixed for the job's life.

    Attributes:
        name: the job's.
        run: tells this run from others of the same job.
        folder: names its folder on each node: runs that follow one another may share it.
        command: the program and its arguments.
        environment: as the job file has it.
        cpus, gpus: of one rank.
        grace: seconds between SIGTERM and SIGKILL.
        workers_min, workers_max: how many ranks it can have.
    """

    name: str
    run: str
    folder: str = ""
    command: tuple[str, ...]
    environment: Mapping[str, str] = field(default_factory=dict)
    cpus: float = 1.0
    gpus: int = 0
    grace: float = 30.0
    workers_min: int = 1
    workers_max: int = 1


@dataclass(frozen=True, kw_only=True)
class Policy:
    """Times in seconds.

    Attributes:
        budgets: see `BUDGETS`.
        failure_grace: how long the ranks of a group that has failed have to end; they often wait for the one
            that is gone, and then only SIGKILL ends them.
        killed: a rank that has not ended so long after SIGKILL is given up, with its machine.
        settled: a group that ran for so long has got over its earlier failures.
        retry, retry_max: the first wait before a group is started again; it doubles up to the second.
    """

    budgets: Mapping[Fault, int | None] = field(default_factory=lambda: BUDGETS)
    failure_grace: float = 5.0
    killed: float = 10.0
    settled: float = 300.0
    retry: float = 1.0
    retry_max: float = 30.0
