"""From a job file to what is to be proven of its checkpoints: which ones, and that their chain holds."""

from __future__ import annotations

from dataclasses import dataclass

from workers.checkpoint.load import history, newest, read_manifest
from workers.checkpoint.manifest import Manifest
from workers.errors import CheckpointError, InputError
from workers.protocol import Numerics, TrainJob
from workers.replay.conditions import changes
from workers.storage import Store


@dataclass(frozen=True, kw_only=True)
class Claim:
    """What is to be proven.

    Attributes:
        start: the checkpoint to begin from; None to begin from nothing.
        goals: all checkpoints after it, to the last one that is asked for; at least one.
        broken: links of their chain that do not hold, in words.
    """

    start: Manifest | None
    goals: tuple[Manifest, ...]
    broken: tuple[str, ...]


def find_claim(job: TrainJob, begin: int, end: int | None, workers: int, *, allow_changes: bool) -> Claim:
    """What a job's checkpoints claim from one step to another.

    Args:
        begin: the step of the checkpoint to begin from; 0 to begin from nothing.
        end: that of the last checkpoint to compare with; None for the newest.
        workers: how many are to train.
        allow_changes: of the recipe's sources.

    Raises:
        InputError: so many workers cannot train the job, or it promises no equal bits.
        CheckpointError: there are no such checkpoints; or one cannot be read, or is another job's; or the
            recipe's sources have changed.
    """
    _check_provable(job, workers)
    if job.checkpoint_uri is None:
        fix = "there is nothing to verify without checkpoint.uri"
        raise CheckpointError(f"job {job.name} saves no checkpoints", where="checkpoint", fix=fix)
    store = Store(job.checkpoint_uri)
    steps = history(store)
    if end is None and steps:
        found, _ = newest(store)
        end = found.step if found is not None else steps[-1]
    if end not in steps:
        raise _no_such(store, "--to", end, steps)
    if begin >= end:
        what = f"step {end} is not after step {begin}"
        raise InputError(what, where=f"--from {begin}", fix="begin at an earlier checkpoint, or at 0")
    if begin and begin not in steps:
        raise _no_such(store, "--from", begin, [step for step in steps if step < end])
    start = read_manifest(store, begin) if begin else None
    goals = tuple(read_manifest(store, step) for step in steps if begin < step <= end)
    for manifest in (*([start] if start else []), *goals):  # the environment is compared once torch is there
        changes(manifest, job, manifest.fingerprint, allowed=allow_changes)
    return Claim(start=start, goals=goals, broken=tuple(_broken_links(start, goals)))


def _check_provable(job: TrainJob, workers: int) -> None:
    if job.numerics is Numerics.FAST:
        what = "a job with `numerics: fast` makes no promise about bits that could be proven"
        raise InputError(what, where="numerics", fix="train with `numerics: elastic`")
    if not 1 <= workers <= job.virtual_ranks:
        what = f"{workers} workers cannot share {job.virtual_ranks} virtual ranks"
        raise InputError(what, where="--workers", fix=f"use 1 to {job.virtual_ranks} workers")


def _no_such(store: Store, option: str, step: int | None, steps: list[int]) -> CheckpointError:
    there = ", ".join(map(str, steps)) or "none"
    what = "there is no checkpoint" + (f" of step {step}" if step is not None else "")
    return CheckpointError(what, where=f"{option}, {store.uri}", fix=f"choose one of: {there}")


def _broken_links(start: Manifest | None, goals: tuple[Manifest, ...]) -> list[str]:
    """Checkpoints that follow another one than the one that is stored under that step.

    A parent that is gone, or before the first of these, says nothing; nor does a fork, whose checkpoints
    have one parent: each of them follows it by the steps in between.
    """
    by_step = {manifest.step: manifest for manifest in (*([start] if start else []), *goals)}
    broken = []
    for manifest in goals:
        parent = by_step.get(manifest.parent.step) if manifest.parent is not None else None
        if parent is not None and manifest.parent is not None and parent.digest != manifest.parent.sha256:
            broken.append(
                f"step {manifest.step} follows a checkpoint of step {parent.step} with the hash "
                f"{manifest.parent.sha256[:16]}, and the one that is there has {parent.digest[:16]}"
            )
    return broken
