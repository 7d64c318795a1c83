"""One case: a job, a death, whoever goes on, and what the store holds after each of these."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from orchestrator.checkpointing import newest_intact
from tests.kills.case import EVERY, STEPS, Case, Victim
from tests.kills.fatal import OPERATIONS, VARIABLE, Countdown, death, kill_all
from tests.support.events import train_job
from tests.support.supervised import Seen, supervised
from workers.checkpoint.load import history, read_manifest, restore, verify
from workers.checkpoint.objects import CHUNKS, sha256_of
from workers.checkpoint.policy import Retention
from workers.checkpoint.retention import prune
from workers.protocol import TrainJob
from workers.storage import Store

RECIPE = Path(__file__).with_name("recipe.py").read_bytes()


@dataclass(kw_only=True)
class Calm:
    """What is so without any death: the digest in the end, and the state's digest at each saved step."""

    digest: str
    states: dict[int, str]


@dataclass(kw_only=True)
class Survived:
    """What came of a case.

    Attributes:
        died: at which operation; None if the job had fewer.
        problems: none, if all is well.
    """

    died: str | None = None
    problems: list[str] = field(default_factory=list)
    story: list[str] = field(default_factory=list)


class Killed(BaseException):
    """The supervisor is dead. Not an Exception, so that nothing tidies up after it."""


def undisturbed(uri: str) -> Calm:
    """One worker, and nothing happens to it."""
    job = _job(uri, keep=100, waits=True)
    with supervised(job, 1) as (supervisor, _, seen):
        outcome = supervisor.run()
    assert outcome.done, str(outcome)
    assert seen.digest is not None
    store = Store(uri)
    assert history(store) == [*range(EVERY, STEPS + 1, EVERY)]
    return Calm(digest=seen.digest, states={step: _state(store, step) for step in history(store)})


def survive(case: Case, uri: str, folder: Path, calm: Calm) -> Survived:
    """Live a case, with checkpoints at `uri`, and notes in a folder of its own."""
    job = _job(uri, keep=case.keep.last, waits=case.waits)
    found = Survived()
    seen = _first_life(case, job, folder, found)
    store = Store(uri)
    _check(store, calm, found, "after the death")
    if not (seen.outcome and seen.outcome.done):
        if case.victim is not Victim.SUPERVISOR:
            found.problems.append(f"the job ended: {seen.outcome}")
        resume = newest_intact(store)[0].step if history(store) else None
        with supervised(job, case.workers[1], resume_step=resume) as (supervisor, _, again):
            again.outcome = supervisor.run()
        found.story += again.story
        if not again.outcome.done:
            found.problems.append(f"going on ended: {again.outcome}")
        if again.digest is not None or resume != STEPS:
            seen.digest = again.digest
    if seen.digest != calm.digest:
        found.problems.append(f"the digest is {seen.digest}, undisturbed {calm.digest}")
    _check(store, calm, found, "in the end")
    _check_tidy(store, case, found)
    return found


def _first_life(case: Case, job: TrainJob, folder: Path, found: Survived) -> Seen:
    died: list[str] = []

    def die(what: str) -> None:
        died.append(f"supervisor: {what}")
        if not isinstance(threading.current_thread(), threading.Timer):
            raise Killed

    def look() -> None:
        if died:
            raise Killed

    seen = Seen()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(VARIABLE, json.dumps({"seed": case.seed, "folder": str(folder)}))
        if case.victim is Victim.SUPERVISOR:
            countdown = Countdown(case.operation, case.moment, case.soon_seconds, die)
            for name in OPERATIONS:
                patch.setattr(Store, name, _unless(died, countdown.counted(name, getattr(Store, name))))
        try:
            with supervised(job, case.workers[0]) as (supervisor, _, seen):
                supervisor.idle = look
                seen.outcome = supervisor.run()
        except Killed:
            kill_all(folder)
    found.story += seen.story
    found.died = died[0] if died else death(folder)
    return seen


def _unless(dead: list[str], operation: Callable[..., Any]) -> Callable[..., Any]:
    """The dead do nothing any more."""

    def call(*arguments: Any, **named: Any) -> Any:
        if dead:
            raise Killed
        result = operation(*arguments, **named)
        if dead:
            raise Killed
        return result

    return call


def _check(store: Store, calm: Calm, found: Survived, when: str) -> None:
    """All that is committed is whole, and what it should be; the newest can be restored."""
    steps = history(store)
    for step in steps:
        found.problems += [f"{when}: step {step}: {it}" for it in verify(store, read_manifest(store, step))]
        if _state(store, step) != calm.states.get(step):
            found.problems.append(f"{when}: step {step} is another state than without a death")
    if steps and restore(store)[0].step != steps[-1]:
        found.problems.append(f"{when}: step {steps[-1]} cannot be restored")
    if not steps and when == "in the end":
        found.problems.append("nothing was saved")


def _check_tidy(store: Store, case: Case, found: Survived) -> None:
    """Once the grace period is over, there is nothing but what the manifests name."""
    prune(store, case.keep, grace_seconds=0)
    steps = history(store)
    named = {chunk.sha256 for step in steps for chunk in read_manifest(store, step).chunks}
    stored = {sha256_of(info.name) for info in store.list(CHUNKS)}
    if stored != named:
        found.problems.append(f"chunks: {len(named - stored)} are missing, {len(stored - named)} too many")
    if len(steps) > (case.keep.last or 0):
        found.problems.append(f"steps {steps} are there, to keep were the last {case.keep.last}")
    if left := store.unfinished():
        found.problems.append(f"unfinished files: {left}")


def _state(store: Store, step: int) -> str:
    return read_manifest(store, step).state_digest


def _job(uri: str, *, keep: int | None, waits: bool) -> TrainJob:
    return train_job(
        name="kills",
        recipe="recipe:Net",
        sources={"recipe.py": RECIPE},
        source_folder=None,
        steps=STEPS,
        checkpoint_uri=uri,
        checkpoint_every=EVERY,
        checkpoint_keep=Retention(last=keep),
        checkpoint_waits=waits,
    )
