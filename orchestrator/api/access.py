"""Who asks, and what they may do. Pure, but for the parts that FastAPI calls."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Request, Security
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from orchestrator.api.errors import Refused
from orchestrator.store.records import JobRecord, Role, TokenRecord

_RANK = {role: rank for rank, role in enumerate(Role)}


@dataclass(frozen=True, kw_only=True)
class Caller:
    """Whoever a token belongs to.

    Attributes:
        token: its id, never the secret.
        queues: those that it is good for; None for all.
    """

    user: str
    role: Role
    queues: frozenset[str] | None
    token: str

    @classmethod
    def of(cls, token: TokenRecord) -> Caller:
        """Whoever holds a token."""
        queues = None if token.queues is None else frozenset(token.queues)
        return cls(user=token.user, role=token.role, queues=queues, token=token.id)

    def has(self, role: Role) -> bool:
        """Whether they may do what this role may."""
        return _RANK[self.role] >= _RANK[role]

    def sees(self, queue: str) -> bool:
        """Whether a queue exists for them."""
        return self.queues is None or queue in self.queues

    def may_change(self, job: JobRecord) -> bool:
        """Their own jobs, or as an admin all that they see."""
        mine = self.has(Role.SUBMITTER) and job.submission.user == self.user
        return self.sees(job.submission.queue) and (mine or self.has(Role.ADMIN))


_bearer = HTTPBearer(auto_error=False, description="A token of `lockstep token create`.")
_Credentials = Annotated[HTTPAuthorizationCredentials | None, Security(_bearer)]


def _needs(role: Role, *, everywhere: bool = False) -> Callable[..., Awaitable[Caller]]:
    async def check(request: Request, credentials: _Credentials) -> Caller:
        caller: Caller = request.state.caller  # the door has looked at the token
        if not caller.has(role):
            what = f"{caller.user} is a {caller.role}, and this is for a {role}"
            raise Refused(403, what, fix="ask an admin for another token")
        if everywhere and caller.queues is not None:
            what = "this is for tokens that are good for all queues"
            raise Refused(403, what, fix="ask an admin for another token")
        return caller

    return check


#: Parameters of endpoints: whoever asks, if their role suffices.
Viewer = Annotated[Caller, Depends(_needs(Role.VIEWER))]
Submitter = Annotated[Caller, Depends(_needs(Role.SUBMITTER))]
ViewerOfAll = Annotated[Caller, Depends(_needs(Role.VIEWER, everywhere=True))]
AdminOfAll = Annotated[Caller, Depends(_needs(Role.ADMIN, everywhere=True))]
