"""Time travel: one process takes a job's state before a step, and does the step before everybody's eyes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from workers.checkpoint.load import history, read_manifest
from workers.data.places import TrainingPlaces
from workers.errors import CheckpointError, InputError
from workers.numerics.environment import fingerprint
from workers.numerics.exchange import Alone
from workers.protocol import Numerics, TrainJob
from workers.replay.conditions import changes
from workers.replay.finite import kind_of
from workers.replay.keep import FolderKeeper
from workers.replay.narrow import culprits
from workers.replay.observed import NonFinite, Observed, Observer, Sentry, observing
from workers.replay.origin import Origin
from workers.replay.sight import Culprit, StepSight
from workers.replay.stepping import begin_anew, restore, step_runner
from workers.replay.watch import Watch
from workers.training.build import build
from workers.training.step import StepResult, StepRunner, Team
from workers.training.training_data import StoredData

_FAST = "the job was trained with `numerics: fast`: what is seen here may differ from it in the last bits"


@dataclass(frozen=True, kw_only=True)
class Request:
    """What to see.

    Attributes:
        step: counted from 1.
        goes_on: past steps with a loss or gradient that is not finite; else the first of them is shown.
        allow_changes: of the environment and the recipe's sources.
        debug: stop inside the recipe's `loss`.
        save: the folder to keep the step in.
        vrank: keep and debug this virtual rank; if not given, keep all, and debug the first that has samples.
    """

    step: int
    goes_on: bool = False
    allow_changes: bool = False
    debug: bool = False
    save: Path | None = None
    vrank: int | None = None


class Traveller:
    """A job in one process, with all of its virtual ranks.

    Args:
        job: as its job file says; its folder is only read.
        origin: where to begin.
        request: what to see.
        progress: told how many steps are done, and of how many, on the way.

    Raises:
        LockstepError: the recipe, the data or the checkpoint is not what the job needs; or there are changes
            that are not allowed.
        Whatever the recipe raises.
    """

    def __init__(
        self,
        job: TrainJob,
        origin: Origin,
        request: Request,
        progress: Callable[[int, int], None] = lambda done, total: None,
    ) -> None:
        self._notes = [*origin.notes, *([_FAST] if job.numerics is Numerics.FAST else [])]
        tree = Numerics.ELASTIC if job.numerics is Numerics.FAST else job.numerics
        self._job = replace(job, steps=request.step, decode_processes=0, numerics=tree)
        self._origin, self._request, self._progress = origin, request, progress
        self._keeper = FolderKeeper(request.save, request.vrank) if request.save is not None else None
        built = build(self._job)
        self._built = replace(built, data=built.data.without(origin.left_out))
        if origin.witness is not None:
            here = fingerprint(job.device, self._built.replica.optimizer)
            self._notes += changes(origin.witness, job, here, allowed=request.allow_changes)
        if origin.manifest is not None and origin.store is not None:
            restore(self._built, origin.store, origin.manifest, origin.tensors)
        else:
            begin_anew(self._built, self._job)
        self._earlier: int | None = None
        self._start = self._built.replica.step
        self._places = TrainingPlaces(job.train) if job.train is not None else None
        everybody = tuple(range(job.virtual_ranks))
        self._team = Team(exchange=Alone(torch.device(job.device)), hosted=(everybody,))

    def go(self) -> None:
        """Go to where the step begins; no further than to the first one that is not finite."""
        replica, request = self._built.replica, self._request
        sentry = Sentry(replica.model, goes_on=request.goes_on)
        with self._steps(sentry) as runner:
            while replica.step < request.step - 1:
                try:
                    runner.run()
                except NonFinite:
                    break
                if sentry.alarmed and self._earlier is None:
                    self._earlier = replica.step
                self._progress(replica.step - self._start, request.step - self._start)

    def look(self) -> StepSight:
        """Do the next step, and see all of it."""
        replica = self._built.replica
        step = replica.step
        damaged = [name for name, p in replica.model.named_parameters() if kind_of(p.detach()) is not None]
        found: list[Culprit] = []
        watch = Watch(
            replica.model,
            stop_at=self._stop_at(step),
            keeper=self._keeper,
            when_reduced=lambda watch: found.extend(self._culprit(watch, step, narrow=not damaged)),
        )
        with watch.hooked(), self._steps(watch) as runner:
            result = runner.run()
        sight = self._sight(watch, result, damaged, found[0] if found else None)
        if self._keeper is not None:
            self._keeper.close(sight.json(layers=True))
        return sight

    @contextmanager
    def _steps(self, observer: Observer) -> Iterator[StepRunner]:
        """Runs the replica's next steps, observed."""
        built, team = self._built, self._team
        if built.reducer is None:
            raise ValueError("steps of stock DDP cannot be done again")
        built.reducer.join(team.exchange, team.hosted)
        reducer = Observed(built.reducer, observer)
        with (
            built.data.feed(team.own, built.replica.step) as feed,
            observing(built.replica.recipe, observer),
        ):
            yield step_runner(self._job, built, reducer, feed, team)

    def _stop_at(self, step: int) -> int | None:
        """The virtual rank to debug, if any."""
        counts, vrank = self._built.data.schedule.at(step).counts, self._request.vrank
        if not self._request.debug:
            return None
        if vrank is None:
            return next(number for number, count in enumerate(counts) if count)
        if not counts[vrank]:
            what = f"virtual rank {vrank} has no samples in step {step + 1}, the last of its epoch"
            have = ", ".join(str(number) for number, count in enumerate(counts) if count)
            raise InputError(what, where=f"--vrank {vrank}", fix=f"choose one of: {have}")
        return vrank

    def _sight(
        self, watch: Watch, result: StepResult, damaged: list[str], culprit: Culprit | None
    ) -> StepSight:
        replica, schedule = self._built.replica, self._built.data.schedule
        step, digest = replica.step - 1, replica.digest()
        counts = schedule.at(step).counts
        return StepSight(
            job=self._job.name,
            step=replica.step,
            asked=self._request.step,
            start=self._start,
            epoch=schedule.epoch(step),
            notes=self._notes,
            earlier=self._earlier,
            loss=result.loss,
            values=result.values,
            vranks=[
                replace(sight, count=counts[vrank], samples=self._samples(step, vrank))
                for vrank, sight in sorted(watch.sights.items())
            ],
            gradient_norms=watch.gradient_norms,
            damaged_state=damaged,
            culprit=culprit,
            state_digest=digest,
            equal=self._equals_checkpoint(replica.step, digest),
        )

    def _samples(self, step: int, vrank: int) -> list[dict[str, Any]]:
        """Where those of a micro-batch are stored; none where the recipe makes its own data."""
        data = self._built.data
        if self._places is None or not isinstance(data, StoredData):
            return []
        return self._places.of(data.addresses(step, vrank))

    def _equals_checkpoint(self, step: int, digest: str) -> bool | None:
        """Whether the job's own checkpoint of a step has this state; None if there is none to be read."""
        store = self._origin.store
        if store is None or step not in history(store):
            return None
        try:
            return read_manifest(store, step).state_digest == digest
        except CheckpointError:
            return None

    def _culprit(self, watch: Watch, step: int, *, narrow: bool) -> list[Culprit]:
        """What is to blame, if anything is; before the update, while the state is that of before the step."""
        first = watch.first()
        if first is None:
            return []
        vrank, finding = first
        data = self._built.data
        if vrank is None or not isinstance(data, StoredData):
            return [Culprit(finding=finding, vrank=vrank)]
        addresses, samples = data.addresses(step, vrank), self._samples(step, vrank)
        found = culprits(self._job, self._built.replica, data, addresses, step, vrank) if narrow else None
        if found is None:
            return [Culprit(finding=finding, vrank=vrank, samples=samples)]
        positions, mode = found
        own = [samples[position] for position in positions]
        return [Culprit(finding=finding, vrank=vrank, positions=positions, mode=mode, samples=own)]
