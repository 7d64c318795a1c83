"""Connections to PostgreSQL that do not wait for ever.

A server that is frozen, or a network that loses what is sent, closes nothing: its machine acknowledges what
arrives, so neither keep-alives nor TCP's own deadlines notice. Only whoever waits can.
"""

from __future__ import annotations

import time
from collections.abc import Generator
from typing import Any, TypeVar

import psycopg
from psycopg.abc import PQGen

#: For one answer: longer than anything of ours takes, waiting for another writer included.
ANSWER_SECONDS_MAX = 15.0
_LOOK_SECONDS = 0.5

T = TypeVar("T")


class PatientConnection(psycopg.Connection[Any]):
    """One that is closed when an answer takes too long: nobody knows what would come next on it."""

    def wait(self, gen: PQGen[T], interval: float = _LOOK_SECONDS, *rest: Any, **settings: Any) -> T:
        """What the server answers.

        Raises:
            psycopg.OperationalError: nothing, for `ANSWER_SECONDS_MAX`.
        """
        limited = _until(time.monotonic() + ANSWER_SECONDS_MAX, gen, self)
        return super().wait(limited, interval, *rest, **settings)


def _until(deadline: float, gen: PQGen[T], connection: PatientConnection) -> Generator[Any, Any, T]:
    """The same conversation, which ends if nothing has come by the deadline."""
    try:
        wanted = next(gen)
        while True:
            ready = yield wanted
            if not ready and time.monotonic() > deadline:
                connection.close()
                raise psycopg.OperationalError(f"it has been silent for {ANSWER_SECONDS_MAX:g} s")
            wanted = gen.send(ready)
    except StopIteration as end:
        value: T = end.value
        return value
