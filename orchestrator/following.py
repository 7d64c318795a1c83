"""Follows a job that its supervisor runs, until the end; the supervisor may die and come back meanwhile."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

import ray
from ray.exceptions import ActorDiedError, RayActorError

from clusters.connection import namespace
from orchestrator.gang import Outcome
from orchestrator.gang.events import Interrupted
from orchestrator.interruption import Interruption
from orchestrator.job_actor import Assignment, JobActor, actor_name
from orchestrator.records.news import News
from orchestrator.records.status import JobView
from orchestrator.records.steplog import Entry, StepEntry
from orchestrator.script_actor import ScriptAssignment, ScriptJobActor
from workers.errors import UnreachableError

_LOOK_SECONDS = 0.2
_AGAIN_SECONDS = 0.1
#: Calls that a supervisor serves at once: followers wait in it, and must not keep wishes waiting.
_CONCURRENCY = 16


def find(job: str) -> Any | None:
    """The supervisor of a running job on the connected cluster; None if there is none.

    A server's are called otherwise than that of `lockstep run`; of several that is preferred, else the
    newest.
    """
    named = [name for name in supervisors() if name.startswith(f"{job}/")]
    exact = actor_name(job)
    return get(exact if exact in named else max(named)) if named else None


def get(name: str) -> Any | None:
    """A supervisor by its name in Ray; None if there is none of this name.

    An actor whose handle cannot be had any more is none.
    """
    try:
        return ray.get_actor(name, namespace())
    except ValueError:
        return None


def supervisors() -> list[str]:
    """The names of all supervisors on the connected cluster."""
    named = ray.util.list_named_actors(all_namespaces=True)
    ours = [actor["name"] for actor in named if actor["namespace"] == namespace()]
    return [name for name in ours if name.endswith("/supervisor")]


def begin(assignment: Assignment | ScriptAssignment) -> Any:
    """Start a job's supervisor, on this node where that is possible: it should not get lost with workers."""
    here = {"ray.io/node-id": ray.get_runtime_context().get_node_id()}
    actor: Any = JobActor if isinstance(assignment, Assignment) else ScriptJobActor
    options = actor.options(
        name=assignment.actor,
        namespace=assignment.namespace,
        lifetime="detached",
        max_concurrency=_CONCURRENCY,
        label_selector=here,
        fallback_strategy=[{"label_selector": {}}],
    )
    return options.remote(assignment)


def follow(
    supervisor: Any,
    *,
    sinks: Sequence[Callable[[Entry], None]],
    look: Callable[[JobView], None],
    interruption: Interruption,
) -> tuple[Outcome, JobView]:
    """Until the job has ended.

    Args:
        supervisor: see `find` and `begin`.
        sinks: take each entry of its history, once.
        look: called with the job as it is, several times a second.
        interruption: asks for the job's end.

    Raises:
        UnreachableError: the supervisor is gone for good.
    """
    incarnation, position, asked = "", 0, False
    history = _History(sinks)
    while True:
        if interruption.requested and not asked:
            asked = True
            supervisor.wish.remote(Interrupted())
        news = _hear(supervisor, incarnation, position)
        if news is None:
            continue
        if news.incarnation != incarnation:
            history.begins_anew()
        incarnation, position = news.incarnation, news.position
        for entry in news.entries:
            history.tell(entry)
        look(news.view)
        if news.outcome is not None:
            return news.outcome, news.view


def dismiss(supervisor: Any) -> None:
    """A job that has ended needs no supervisor any more."""
    ray.kill(supervisor)


class _History:
    """Passes entries on; a supervisor that had to start again tells some steps once more."""

    def __init__(self, sinks: Sequence[Callable[[Entry], None]]) -> None:
        self._sinks = sinks
        self._last = self._known = 0

    def begins_anew(self) -> None:
        self._known = self._last

    def tell(self, entry: Entry) -> None:
        if isinstance(entry, StepEntry):
            self._last = max(self._last, entry.step)
            if entry.step <= self._known:
                return
            self._known = 0
        for sink in self._sinks:
            sink(entry)


def _hear(supervisor: Any, incarnation: str, position: int) -> News | None:
    """None as long as the supervisor is being started again."""
    try:
        news: News = ray.get(supervisor.follow.remote(incarnation, position, _LOOK_SECONDS))
    except ActorDiedError as error:
        what = f"the job's supervisor is gone: {str(error).splitlines()[0]}"
        raise UnreachableError(what, fix="go on from the last checkpoint with --resume") from error
    except RayActorError:
        time.sleep(_AGAIN_SECONDS)
        return None
    return news
