"""Whose a token is: remembered for a moment, since every request asks.

A token that is revoked here is forgotten at once. One that is revoked in the database itself, or by another
server on it, is good for another moment (`Config.token_seconds`).
"""

from __future__ import annotations

import asyncio
import hashlib
import threading
from dataclasses import dataclass

from starlette.concurrency import run_in_threadpool

from orchestrator.api.access import Caller
from orchestrator.api.errors import Refused
from orchestrator.store.database import Database
from orchestrator.store.records import TokenRecord

_REMEMBERED_MAX = 10_000
_NO_TOKEN = "this token is not known, or no longer good"


@dataclass(frozen=True, kw_only=True)
class _Known:
    token: TokenRecord
    until: float

    def is_good(self, now: float) -> bool:
        expires_at = self.token.expires_at
        return now < self.until and (expires_at is None or now < expires_at)


class Identities:
    """The tokens of one database.

    Args:
        seconds: how long a good one is remembered; 0 for not at all.
    """

    def __init__(self, database: Database, seconds: float) -> None:
        self._database, self._seconds = database, seconds
        self._known: dict[bytes, _Known] = {}
        self._forgotten = 0  # counts, so that what was looked up before is not remembered after
        self._lock = threading.Lock()
        self._asked: dict[tuple[bytes, int], asyncio.Future[Caller]] = {}  # the event loop's alone

    def remembered(self, secret: str, now: float) -> Caller | None:
        """Whose it is, if that is known without asking the database."""
        known = self._known.get(_hashed(secret))
        return Caller.of(known.token) if known is not None and known.is_good(now) else None

    def find(self, secret: str, now: float) -> Caller:
        """Whose it is; asks the database.

        Raises:
            Refused: nobody's, or it is expired or revoked.
        """
        forgotten = self._forgotten
        with self._database.reading() as tx:
            token, why = tx.tokens.find(secret, now)
        if token is None:
            raise Refused(401, _NO_TOKEN, fix="ask an admin for another token", why=why)
        with self._lock:
            if forgotten == self._forgotten and self._seconds:
                if len(self._known) >= _REMEMBERED_MAX:
                    self._known.clear()
                self._known[_hashed(secret)] = _Known(token=token, until=now + self._seconds)
        return Caller.of(token)

    async def ask(self, secret: str, now: float) -> Caller:
        """`find` in a thread; those who ask for the same meanwhile, as all do who come when it was forgotten,
        wait for the same answer.

        Raises:
            Refused: see `find`.
        """
        key = (_hashed(secret), self._forgotten)  # who comes after a revocation asks for himself
        asked = self._asked.get(key)
        if asked is None:
            asked = asyncio.ensure_future(run_in_threadpool(self.find, secret, now))
            self._asked[key] = asked
            asked.add_done_callback(lambda _: self._asked.pop(key))
        return await asyncio.shield(asked)  # whoever hangs up takes nobody along

    def forget(self) -> None:
        """Some token is not what it was."""
        with self._lock:
            self._forgotten += 1
            self._known.clear()


def _hashed(secret: str) -> bytes:
    """Secrets are not kept in memory either."""
    return hashlib.sha256(secret.encode()).digest()
