"""Tokens: who may do what."""

from __future__ import annotations

import time

from fastapi import APIRouter, Request

from orchestrator.api import models, views
from orchestrator.api.access import AdminOfAll
from orchestrator.api.context import Here, note
from orchestrator.api.errors import Wrong
from orchestrator.api.models import TokenId
from orchestrator.api.routes.responses import fails
from workers.errors import InputError

router = APIRouter(prefix="/v1/tokens", tags=["tokens"])


@router.get("", responses=fails())
def tokens(here: Here, caller: AdminOfAll) -> models.Tokens:
    """All tokens there ever were, without their secrets."""
    with here.database.reading() as tx:
        return models.Tokens(tokens=[views.token(token) for token in tx.tokens.all()])


@router.post("", status_code=201, responses=fails())
def create_token(
    new: models.NewToken, here: Here, caller: AdminOfAll, request: Request
) -> models.TokenWithSecret:
    """Make a token. Its secret is in this answer and nowhere else."""
    with here.database.transaction() as tx:
        known = {queue.id for queue in tx.queues.all()}
        unknown = sorted(set(new.queues or ()) - known)
        if unknown:
            fix = f"use some of {', '.join(sorted(known))}"
            raise Wrong(422, f"there is no queue {unknown[0]}", where="queues", fix=fix)
        record, secret = tx.tokens.create(
            user=new.user, role=new.role, queues=new.queues, expires_at=new.expires_at, now=time.time()
        )
        note(
            tx, request, "token", record.id, f"{record.role} for {record.user}, queues {new.queues or 'all'}"
        )
    return models.TokenWithSecret(**views.token(record).model_dump(), secret=secret)


@router.delete("/{token}", responses=fails(404))
def revoke_token(token: TokenId, here: Here, caller: AdminOfAll, request: Request) -> models.Token:
    """Make a token good for nothing, at once and for ever."""
    with here.database.transaction() as tx:
        try:
            record = tx.tokens.revoke(token, now=time.time())
        except InputError as error:
            raise Wrong(404, error.what, where=error.where, fix=error.fix) from error
        note(tx, request, "revoke token", token, record.user)
    here.identities.forget()
    return views.token(record)
