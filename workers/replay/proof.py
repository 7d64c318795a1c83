"""Trains a job's steps again on any number of processes, and compares with every checkpoint on the way."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any

import torch

from workers.checkpoint.manifest import Manifest
from workers.errors import InputError, LockstepError, UnreachableError
from workers.forks import start
from workers.numerics.tree import dyadic_assignment
from workers.protocol import Membership, TrainJob
from workers.replay.conditions import changes
from workers.replay.differences import Difference
from workers.replay.retrain import Arrived, At, Compared, Ended, Said, Task, main

Json = Any
_GPUS = "CUDA_VISIBLE_DEVICES"
_ERRORS = {InputError.exit_code: InputError, UnreachableError.exit_code: UnreachableError}


@dataclass(frozen=True, kw_only=True)
class Mismatch:
    """The first checkpoint that was not come to again.

    Attributes:
        step: its step; the steps up to the checkpoint before it are equal.
        workers: ranks of the processes whose state differs from the checkpoint.
        agree: all processes hold the same state. If not, one of them has miscalculated.
        differences: those of the first of these processes.
    """

    step: int
    workers: tuple[int, ...]
    agree: bool
    differences: tuple[Difference, ...]

    def json(self) -> dict[str, Json]:
        """As JSON values."""
        return {
            "step": self.step,
            "workers": list(self.workers),
            "workers_agree": self.agree,
            "tensors": [difference.json() for difference in self.differences],
        }


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What training again came to.

    Attributes:
        equal: the steps of the checkpoints that were come to again.
        mismatch: the first one that was not.
        changes: of the environment and the recipe's sources since then; with any, nothing is proven.
    """

    equal: tuple[int, ...]
    mismatch: Mismatch | None
    changes: tuple[str, ...]


class Proof:
    """One attempt to come to a job's checkpoints again.

    Args:
        job: as its job file says.
        uri: its checkpoints, which are only read.
        start: the checkpoint to begin from; None to begin from nothing.
        goals: the checkpoints to compare with, in the order of their steps.
        workers: how many processes.
        allow_changes: of the environment and the recipe's sources.
        notice: told what has changed, before any step is done.
        progress: told how many steps are done, and of how many.
    """

    def __init__(
        self,
        job: TrainJob,
        uri: str,
        start: Manifest | None,
        goals: Sequence[Manifest],
        *,
        workers: int,
        allow_changes: bool,
        notice: Callable[[Sequence[str]], None] = lambda changes: None,
        progress: Callable[[int, int], None] = lambda done, total: None,
    ) -> None:
        self._gpus = _gpus() if job.device == "cuda" else []
        shared = job.gpu_shared or workers > len(self._gpus)
        self._job = replace(job, steps=goals[-1].step, gpu_shared=shared)
        self._uri, self._start, self._goals, self._workers = uri, start, goals, workers
        self._allow_changes, self._notice, self._progress = allow_changes, notice, progress
        self._changes: tuple[str, ...] = ()

    def run(self) -> Verdict:
        """Train and compare, to the end or the first difference.

        Raises:
            CheckpointError: the checkpoints are another job's; or there are changes that are not allowed.
            LockstepError: a process failed or died.
        """
        with self._processes() as children:
            hear = _hear(children)
            self._let_meet(children, hear)
            return self._compare(hear)

    def _let_meet(self, children: Sequence[_Child], hear: Iterator[tuple[int, Said]]) -> None:
        arrived: dict[int, Arrived] = {}
        while len(arrived) < self._workers:
            rank, said = next(hear)
            if isinstance(said, Arrived):
                arrived[rank] = said
        self._changes = self._changed(arrived[0].fingerprint)
        if self._changes:
            self._notice(self._changes)
        membership = Membership(
            generation=0,
            workers=tuple(f"worker-{rank}" for rank in range(self._workers)),
            hosted=dyadic_assignment(self._job.virtual_ranks, self._workers),
            store=arrived[0].store,
            left_out=self._goals[-1].left_out,
        )
        for child in children:
            child.connection.send(membership)

    def _changed(self, fingerprint: Mapping[str, Any]) -> tuple[str, ...]:
        manifests = [*([self._start] if self._start else []), *self._goals]
        found = [
            change
            for manifest in manifests
            for change in changes(manifest, self._job, fingerprint, allowed=self._allow_changes)
        ]
        return tuple(dict.fromkeys(found))

    def _compare(self, hear: Iterator[tuple[int, Said]]) -> Verdict:
        begin = self._start.step if self._start else 0
        steps = self._goals[-1].step - begin
        equal: list[int] = []
        states: dict[int, dict[int, Compared]] = defaultdict(dict)  # some processes are faster than others
        for goal in self._goals:
            while len(states[goal.step]) < self._workers:
                rank, said = next(hear)
                if isinstance(said, Compared):
                    states[said.step][rank] = said
                elif isinstance(said, At):
                    self._progress(said.step - begin, steps)
            mismatch = _mismatch(goal.step, states.pop(goal.step))
            if mismatch is not None:
                return Verdict(equal=tuple(equal), mismatch=mismatch, changes=self._changes)
            equal.append(goal.step)
        self._progress(steps, steps)
        return Verdict(equal=tuple(equal), mismatch=None, changes=self._changes)

    @contextmanager
    def _processes(self) -> Iterator[list[_Child]]:
        """All of them; none is left when the block is."""
        children: list[_Child] = []
        try:
            for rank in range(self._workers):
                process, connection = start(main, self._task(rank), name=f"worker-{rank}")
                children.append(_Child(process=process, connection=connection))
            yield children
        finally:
            for child in children:
                child.process.kill()
                child.process.join()
                child.connection.close()

    def _task(self, rank: int) -> Task:
        return Task(
            job=self._job,
            uri=self._uri,
            rank=rank,
            start=self._start.step if self._start else 0,
            goals=tuple(goal.step for goal in self._goals),
            gpu=self._gpus[rank % len(self._gpus)] if self._gpus else None,
        )


@dataclass(frozen=True, kw_only=True)
class _Child:
    process: BaseProcess
    connection: Connection


def _hear(children: Sequence[_Child]) -> Iterator[tuple[int, Said]]:
    """What processes say, by rank.

    Raises:
        LockstepError: one failed or died, or they ended early.
    """
    heard = {rank: child.connection for rank, child in enumerate(children)}
    while heard:
        ready = wait(list(heard.values()))
        for rank, connection in list(heard.items()):
            if connection not in ready:
                continue
            try:
                said: Said = connection.recv()
            except (EOFError, OSError):
                del heard[rank]
                _check_exit(rank, children[rank].process)
                continue
            if not isinstance(said, Ended):
                yield rank, said
            elif said.told is not None:
                raise _error(rank, said.told)
    raise LockstepError("the processes lost one another", fix="try again")


def _check_exit(rank: int, process: BaseProcess) -> None:
    process.join()
    code = process.exitcode or 0
    if code:
        cause = f"killed by signal {-code}" if code < 0 else f"exit code {code}"
        raise LockstepError(f"died: {cause}", where=f"process {rank}", fix="see above what it printed")


def _error(rank: int, told: Mapping[str, Any]) -> LockstepError:
    what = "\n".join(filter(None, [told["trace"], told["message"]]))
    return _ERRORS.get(told["exit_code"], LockstepError)(what, where=f"process {rank}")


def _mismatch(step: int, states: Mapping[int, Compared]) -> Mismatch | None:
    others = sorted(rank for rank, state in states.items() if state.differences)
    if not others:
        return None
    return Mismatch(
        step=step,
        workers=tuple(others),
        agree=len({state.digest for state in states.values()}) == 1,
        differences=states[others[0]].differences,
    )


def _gpus() -> list[str]:
    """The GPUs that this process may see, as CUDA_VISIBLE_DEVICES names them."""
    visible = os.environ.get(_GPUS)
    return visible.split(",") if visible else [str(number) for number in range(torch.cuda.device_count())]
