"""Tokens from the command line, for a database that no server runs on yet: how the first admin gets in."""

from __future__ import annotations

import getpass
import time
from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from orchestrator.api import models, views
from orchestrator.api.errors import explain
from orchestrator.store.database import Database
from workers.errors import InputError


def create_in_database(url: str, new: Mapping[str, Any]) -> dict[str, Any]:
    """Make a token as POST /v1/tokens does, where no server has to let us in: who writes the database may.

    Raises:
        InputError, UnreachableError: what is asked for makes no sense; see `Database`.
    """
    try:
        asked = models.NewToken.model_validate(dict(new))
    except ValidationError as error:
        wrong = explain(error.errors())["error"]
        raise InputError(wrong["what"], where=wrong["where"]) from error
    now = time.time()
    with Database(url) as database, database.transaction() as tx:
        for queue in asked.queues or ():
            tx.queues.get(queue)
        token, secret = tx.tokens.create(
            user=asked.user, role=asked.role, queues=asked.queues, expires_at=asked.expires_at, now=now
        )
        tx.audit.add(
            now=now,
            who=getpass.getuser(),
            action="token",
            target=token.id,
            address="",
            allowed=True,
            detail=f"{token.role} for {token.user}, by the database",
        )
    return {**views.token(token).model_dump(mode="json"), "secret": secret}
