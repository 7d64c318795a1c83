"""Where a journey to a step begins. All that can be refused without torch is refused here."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, replace

from workers.checkpoint.load import history, read_manifest, read_tensors, restore
from workers.checkpoint.manifest import Manifest
from workers.checkpoint.tensors import RawTensor
from workers.errors import CheckpointError, InputError
from workers.protocol import LeftOut, TrainJob
from workers.replay.conditions import changes
from workers.storage import Store

_FROM_NOTHING = "--from 0 begins from nothing"


@dataclass(frozen=True, kw_only=True)
class Origin:
    """Where a journey begins.

    Attributes:
        store: the job's checkpoints, if it saves any.
        manifest, tensors: the checkpoint to begin from, and its state; None to begin from nothing.
        witness: the checkpoint that says under what conditions the job was trained, if there is any.
        left_out: damaged blocks that the job did without, as far as checkpoints say.
        notes: what was wrong with checkpoints that were passed over.
    """

    store: Store | None = None
    manifest: Manifest | None = None
    tensors: dict[str, RawTensor] | None = None
    witness: Manifest | None = None
    left_out: tuple[LeftOut, ...] = ()
    notes: tuple[str, ...] = ()


def find_origin(job: TrainJob, step: int, begin: int | None, *, allow_changes: bool) -> Origin:
    """The checkpoint from which a step is reached soonest.

    Args:
        step: the step to reach, counted from 1.
        begin: the step of the checkpoint to begin from; 0 to begin from nothing; None to choose.
        allow_changes: of the recipe's sources.

    Raises:
        InputError: the job has no such step, or it is not after `begin`.
        CheckpointError: there is no checkpoint before it; or it is damaged, or another job's; or the recipe's
            sources have changed.
    """
    if step > job.steps:
        fix = f"choose a step from 1 to {job.steps}, or raise stop with --set"
        raise InputError(f"job {job.name} ends at step {job.steps}", where=f"--step {step}", fix=fix)
    if begin is not None and begin >= step:
        fix = "begin at an earlier checkpoint"
        raise InputError(f"step {step} is not after step {begin}", where=f"--from {begin}", fix=fix)
    origin = _origin(job, step, begin)
    if origin.store is not None:
        origin = replace(origin, left_out=_left_out(origin.store, step))
    if origin.witness is not None:  # the environment is compared once torch is there
        changes(origin.witness, job, origin.witness.fingerprint, allowed=allow_changes)
    return origin


def _origin(job: TrainJob, step: int, begin: int | None) -> Origin:
    store = Store(job.checkpoint_uri) if job.checkpoint_uri is not None else None
    steps = history(store) if store is not None else []
    if begin == 0:
        return Origin(store=store, witness=_any_readable(store, steps))
    if store is None:
        raise CheckpointError(f"job {job.name} saves no checkpoints", where="checkpoint", fix=_FROM_NOTHING)
    if begin is not None:
        manifest = read_manifest(store, begin)
        tensors = read_tensors(store, manifest)
        return Origin(store=store, manifest=manifest, tensors=tensors, witness=manifest)
    if not any(saved < step for saved in steps):
        first = f"choose a step after {steps[0]}; or " if steps else ""
        what = f"there is no checkpoint before step {step}"
        raise CheckpointError(what, where=store.uri, fix=first + _FROM_NOTHING)
    manifest, tensors, passed = restore(store, before=step)
    notes = tuple(f"passed over: {problem.where}: {problem.what}" for problem in passed)
    return Origin(store=store, manifest=manifest, tensors=tensors, witness=manifest, notes=notes)


def _left_out(store: Store, step: int) -> tuple[LeftOut, ...]:
    """What the job left out until this step: the first checkpoint that has seen it knows, else the newest."""
    steps = history(store)
    for saved in [*(saved for saved in steps if saved >= step), *reversed(steps)]:
        with suppress(CheckpointError):
            return read_manifest(store, saved).left_out
    return ()


def _any_readable(store: Store | None, steps: list[int]) -> Manifest | None:
    """The earliest checkpoint whose manifest is intact."""
    if store is None:
        return None
    for step in steps:
        with suppress(CheckpointError):
            return read_manifest(store, step)
    return None
