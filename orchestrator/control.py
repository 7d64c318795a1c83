"""Speaks with the supervisor of a running job, from another process than the one that follows it."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from clusters import ray_cluster
from orchestrator.gang.events import Drain, Wish
from orchestrator.records.status import JobView
from orchestrator.records.steplog import Entry
from orchestrator.sessions import find_session
from workers.errors import InputError, UnreachableError

if TYPE_CHECKING:  # Ray must not be imported before `ray_cluster` has set it up
    from orchestrator.records.news import News


class RunningJob:
    """A job that runs somewhere; see `reach`."""

    def __init__(self, name: str, supervisor: Any) -> None:
        self._name, self._supervisor = name, supervisor

    def wish(self, wish: Wish) -> None:
        """Ask for something; returns when the supervisor knows of it, not when it is done.

        Raises:
            InputError: the job cannot do that.
        """
        refusal = self._call("wish", wish)
        if refusal is not None:
            raise InputError(refusal, where=self._name)

    def drain(self, node: str, seconds: float) -> None:
        """Empty a node within so many seconds.

        Args:
            node: its name, or the beginning of its id.

        Raises:
            InputError: no node of the cluster is called so, or several are.
        """
        self.wish(Drain(node=_match(node, self._call("nodes")), seconds=seconds))

    def view(self) -> JobView:
        """The job as it is now."""
        return self._news().view

    def history(self) -> tuple[Entry, ...]:
        """What has happened to it so far."""
        return self._news().entries

    def story(self) -> list[str]:
        """The latest transitions of its life, a line each."""
        lines: list[str] = self._call("story")
        return lines

    def _news(self) -> News:
        news: News = self._call("follow", "", 0, 0.0)
        return news

    def _call(self, method: str, *arguments: object) -> Any:
        import ray
        from ray.exceptions import RayActorError

        try:
            return ray.get(getattr(self._supervisor, method).remote(*arguments))
        except RayActorError as error:
            fix = "try again: it is started anew where it can be"
            what = f"its supervisor does not answer: {str(error).splitlines()[0]}"
            raise UnreachableError(what, where=self._name, fix=fix) from error


@contextmanager
def reach(job: str, cluster: str | None) -> Iterator[RunningJob]:
    """Connect to the cluster that runs a job.

    Args:
        job: its name.
        cluster: "auto" or `host:port`; None for wherever `lockstep run` runs it on this machine.

    Raises:
        UnreachableError: there is no such cluster.
        InputError: no job of this name runs there.
    """
    address = cluster
    if address is None:
        session = find_session(job)
        if session is not None:
            os.environ.update(RAY_AUTH_MODE="token", RAY_AUTH_TOKEN=session.token)
        address = session.address if session is not None else "auto"
    try:
        ray_cluster.connect(address)
    except ray_cluster.ClusterNotFound as error:
        fix = "name the cluster with --cluster, or see whether the job still runs"
        raise UnreachableError(f"no Ray cluster answers: {error}", where=job, fix=fix) from error
    try:
        from orchestrator.following import find

        supervisor = find(job)
        if supervisor is None:
            fix = "see its name in the job file; start it with `lockstep run`"
            raise InputError("no job of this name runs on this cluster", where=job, fix=fix)
        yield RunningJob(job, supervisor)
    finally:
        ray_cluster.disconnect()


def _match(node: str, nodes: Mapping[str, str]) -> str:
    """The id of the one node that is called so."""
    found = [id for id, name in nodes.items() if node == name or id.startswith(node)]
    if len(found) == 1:
        return found[0]
    known = ", ".join(f"{id[:12]} ({name})" for id, name in sorted(nodes.items()))
    what = f"{'several nodes' if found else 'no node of the cluster'} can be meant by {node!r}"
    raise InputError(what, where="NODE", fix=f"name one of {known}")
