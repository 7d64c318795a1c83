"""`Client().submit("job.yaml")`: the job file is checked here, its folder packed and sent."""

from __future__ import annotations

import json
import os
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Literal, Self
from urllib.parse import quote

from orchestrator.client.job import Job
from orchestrator.client.servers import find_target
from orchestrator.client.wire import Wire
from workers.errors import InputError

PATIENCE_SECONDS = 30.0
Start = Literal["new", "resume", "fresh"]


class Client:
    """A server, as one user sees it.

    Args:
        server: its URL; None for LOCKSTEP_SERVER, or the one that this user runs on this machine.
        token: None for LOCKSTEP_TOKEN, or what this user's own server left for them.
        patience: seconds that the server may be away, as when it is started again.

    Raises:
        UnreachableError, AccessError, InputError: see `servers.find_target`.
    """

    def __init__(
        self, server: str | None = None, token: str | None = None, *, patience: float = PATIENCE_SECONDS
    ) -> None:
        self._wire = Wire(partial(find_target, server, token), patience)

    def close(self) -> None:
        """Close its connections; its jobs cannot be asked any more."""
        self._wire.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    @property
    def wire(self) -> Wire:
        """For what has no method here: `client.wire.get("/v1/nodes")`."""
        return self._wire

    def submit(
        self,
        job: str | os.PathLike[str],
        *,
        overrides: Sequence[str] = (),
        start: Start = "new",
        key: str | None = None,
        notes: list[str] | None = None,
    ) -> Job:
        """Hand in a job. When this returns, the server has it for good.

        Args:
            job: the job file. Its folder goes along, without what ignore files name.
            overrides: `section.field=value`, as --set.
            start: where checkpoints of an earlier run are: "new" fails, "resume" goes on from the newest,
                "fresh" removes them.
            key: hand in the same again with the same key, and get the same job; None for one of its own.
            notes: what the user should read is appended.

        Raises:
            InputError: the job file is wrong, its folder too large, or its name taken.
            UnreachableError: the server is away.
        """
        from orchestrator.bundles import pack
        from orchestrator.spec import load_job

        path = Path(job)
        spec = load_job(path, list(overrides))
        bundle = pack(path.absolute().parent)
        if notes is not None:
            notes.extend(bundle.notes)
        address = f"/v1/bundles/{bundle.sha256}"
        if not self._wire.has(address):
            self._wire.upload(address, bundle.data)
        return self.hand_in(_plain(spec.model_dump()), bundle=bundle.sha256, start=start, key=key)

    def hand_in(
        self,
        spec: Mapping[str, Any],
        *,
        bundle: str | None = None,
        start: Start = "new",
        key: str | None = None,
    ) -> Job:
        """Hand in a job by its fields; see the API's POST /v1/jobs."""
        new = {"spec": dict(spec), "bundle": bundle, "start": start, "key": key or uuid.uuid4().hex}
        return Job(self._wire, self._wire.post("/v1/jobs", new))

    def job(self, job: str) -> Job:
        """A job by its name or id.

        Raises:
            InputError: there is none.
        """
        return Job(self._wire, self._wire.get(f"/v1/jobs/{quote(job, safe='')}"))

    def jobs(
        self,
        *,
        states: Iterable[str] | None = None,
        queues: Iterable[str] | None = None,
        user: str | None = None,
        limit: int | None = None,
    ) -> Iterator[dict[str, Any]]:
        """Jobs, the newest first, as `Job.status` has them; page after page."""
        cursor, left = None, limit
        query = {"state": list(states or ()), "queue": list(queues or ()), "user": user}
        while left is None or left > 0:
            page = self._wire.get("/v1/jobs", **query, limit=min(left or 200, 200), cursor=cursor)
            yield from page["jobs"]
            cursor = page["next"]
            left = None if left is None else left - len(page["jobs"])
            if cursor is None:
                return


def _plain(spec: Mapping[str, Any]) -> dict[str, Any]:
    """A job's fields as JSON has them.

    Raises:
        InputError: a number among its parameters is not finite.
    """
    try:
        plain: dict[str, Any] = json.loads(json.dumps(spec, allow_nan=False))
    except ValueError as error:
        fix = "write NaN and infinities as text"
        raise InputError(f"something in it cannot be sent: {error}", where="params", fix=fix) from error
    return plain
