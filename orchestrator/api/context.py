"""What every endpoint stands on: the database, the loop's bell, and who may see what of it."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Annotated

from fastapi import Depends, Request
from fastapi.responses import JSONResponse
from starlette.concurrency import run_in_threadpool

from orchestrator.api.access import Caller
from orchestrator.api.config import Config, Control, Logs
from orchestrator.api.errors import Refused, Wrong, answer
from orchestrator.api.identity import Identities
from orchestrator.api.live import Hub
from orchestrator.api.refusals import Refusal, Refusals
from orchestrator.store.database import Database
from orchestrator.store.records import JobRecord
from orchestrator.store.transaction import Transaction
from workers.errors import InputError
from workers.storage import Store


@dataclass(kw_only=True)
class Context:
    """One service.

    Attributes:
        wake: lets the control loop look at once.
        bundles: where the folders of jobs are kept.
        hub: tells followers that something has happened.
        identities: whose a token is.
        refusals: those of the last minute.
    """

    database: Database
    wake: Callable[[], None]
    bundles: Store
    config: Config
    hub: Hub
    identities: Identities
    control: Control | None = None
    logs: Logs | None = None
    refusals: Refusals = field(default_factory=Refusals)

    async def refuse(self, request: Request, refusal: Refused) -> JSONResponse:
        """Answer a request that is refused, and note that it was made."""
        caller: Caller | None = getattr(request.state, "caller", None)
        refused = Refusal(
            time=time.time(),
            who=caller.user if caller is not None else "",
            action=request.method[:20],
            target=request.url.path[:200],
            address=address(request),
            detail=f"{refusal.status_code}: {refusal.why}"[:400],
        )
        if written := self.refusals.add(refused):
            await run_in_threadpool(self._write, written)
        return answer(refusal)

    def note_refusals(self, now: float) -> None:
        """Write what was counted in minutes that are over."""
        if written := self.refusals.over(now):
            self._write(written)

    def needs_control(self) -> Control:
        """What only the control loop can do.

        Raises:
            Wrong: there is none.
        """
        if self.control is None:
            raise Wrong(503, "the control loop does not run", fix="try again later")
        return self.control

    def _write(self, refusals: Sequence[Refusal]) -> None:
        with self.database.transaction() as tx:
            for each in refusals:
                tx.audit.add(
                    now=each.time,
                    who=each.who,
                    action=each.action,
                    target=each.target,
                    address=each.address,
                    allowed=False,
                    detail=each.detail,
                )


def note(tx: Transaction, request: Request, action: str, target: str, detail: str = "") -> None:
    """A change for the audit log, in the transaction that makes it."""
    caller: Caller = request.state.caller
    tx.audit.add(
        now=time.time(),
        who=caller.user,
        action=action,
        target=target,
        address=address(request),
        allowed=True,
        detail=detail[:500],
    )


def address(request: Request) -> str:
    """Where a request came from."""
    return request.client.host if request.client is not None else ""


def find_job(tx: Transaction, job: str, caller: Caller) -> JobRecord:
    """A job that the caller may see.

    Raises:
        Wrong: there is none.
        Refused: it is another tenant's; the caller is told the same.
    """
    hidden = "there is no such job"
    try:
        record = tx.jobs.get(job)
    except InputError as error:
        if caller.queues is None:
            raise Wrong(404, error.what, where=error.where, fix=error.fix) from error
        raise Wrong(404, hidden, where=job, fix=_SEE) from error
    if not caller.sees(record.submission.queue):
        why = f"job {record.id} is in queue {record.submission.queue}"
        raise Refused(404, hidden, where=job, fix=_SEE, why=why)
    return record


def find_my_job(tx: Transaction, job: str, caller: Caller) -> JobRecord:
    """A job that the caller may change.

    Raises:
        Wrong, Refused: see `find_job`; or it is somebody else's.
    """
    record = find_job(tx, job, caller)
    if not caller.may_change(record):
        what = f"the job is {record.submission.user}'s"
        raise Refused(403, what, where=job, fix="ask its owner, or an admin of its queue")
    return record


_SEE = "see the names with `lockstep jobs`"


async def _context(request: Request) -> Context:
    context: Context = request.app.state.context
    return context


#: Parameter of endpoints.
Here = Annotated[Context, Depends(_context)]
