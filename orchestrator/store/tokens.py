"""Tokens: what lets people in. The database has only the SHA-256 of their secrets."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Collection
from typing import Any

from sqlalchemy import Connection, Row, bindparam, insert, select, update

from orchestrator.store import tables
from orchestrator.store.ids import new_id
from orchestrator.store.records import Role, TokenRecord
from workers.errors import InputError

#: Begins all secrets, so that scanners for them know one.
PREFIX = "lockstep_"
_BY_SECRET = select(tables.tokens).where(tables.tokens.c.sha256 == bindparam("the_hash"))


class Tokens:
    """The tokens in one transaction."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def create(
        self,
        *,
        user: str,
        role: Role,
        now: float,
        queues: Collection[str] | None = None,
        expires_at: float | None = None,
    ) -> tuple[TokenRecord, str]:
        """A new one, and its secret, which nobody can find out again."""
        secret = PREFIX + secrets.token_urlsafe(32)
        token = TokenRecord(
            id=new_id(),
            user=user,
            role=role,
            queues=None if queues is None else tuple(queues),
            created_at=now,
            expires_at=expires_at,
        )
        values = {
            **vars(token),
            "role": role.value,
            "queues": None if token.queues is None else list(token.queues),
            "sha256": _hashed(secret),
        }
        self._connection.execute(insert(tables.tokens).values(values))
        return token, secret

    def find(self, secret: str, now: float) -> tuple[TokenRecord | None, str]:
        """The token that a secret belongs to, if it is good, and else why not, for the audit log."""
        row = self._connection.execute(_BY_SECRET, {"the_hash": _hashed(secret)}).first()
        if row is None:
            return None, "the token is unknown"
        token = _record(row)
        if token.revoked_at is not None:
            return None, f"token {token.id} of {token.user} is revoked"
        if token.expires_at is not None and token.expires_at <= now:
            return None, f"token {token.id} of {token.user} has expired"
        return token, ""

    def all(self) -> tuple[TokenRecord, ...]:
        """All there ever were, the newest first."""
        rows = select(tables.tokens).order_by(tables.tokens.c.created_at.desc(), tables.tokens.c.id)
        return tuple(_record(row) for row in self._connection.execute(rows))

    def revoke(self, id: str, *, now: float) -> TokenRecord:
        """From now on it is good for nothing; revoking it again changes nothing.

        Raises:
            InputError: there is no token of this id.
        """
        row = tables.tokens.c.id == id
        found = self._connection.execute(select(tables.tokens).where(row)).first()
        if found is None:
            raise InputError(f"there is no token {id!r}", where="token", fix="give the id that the list has")
        if found.revoked_at is None:
            self._connection.execute(update(tables.tokens).where(row).values(revoked_at=now))
        return _record(self._connection.execute(select(tables.tokens).where(row)).one())


def _hashed(secret: str) -> str:
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).hexdigest()


def _record(row: Row[Any]) -> TokenRecord:
    values = dict(row._mapping)
    del values["sha256"]
    values["role"] = Role(values["role"])
    values["queues"] = None if values["queues"] is None else tuple(values["queues"])
    return TokenRecord(**values)
