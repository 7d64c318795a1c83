"""One writer at a time, and one commit for all who came while the disk was busy with the one before.

A commit waits for the disk: milliseconds, whatever it holds. So blocks that queue up write one after another
into the same transaction, each in a savepoint of its own, and the last of them commits for all. Each is left
only when its commit is done. Known as group commit (DeWitt et al., Implementation Techniques for Main Memory
Database Systems, 1984).
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

from sqlalchemy import Connection

from orchestrator.store.backend import Backend
from workers.errors import LockstepError, UnreachableError

#: Blocks in one commit, so that the first of them is not kept waiting for ever.
GROUP_MAX = 64


@dataclass(eq=False)
class _Turn:
    """Somebody's right to write, as soon as it is given."""

    given: threading.Event = field(default_factory=threading.Event)
    failure: BaseException | None = None


@dataclass(eq=False)
class _Group:
    """Blocks that share a transaction."""

    connection: Connection
    blocks: int = 0
    failure: BaseException | None = None
    over: threading.Event = field(default_factory=threading.Event)


class Writer:
    """Gives threads their turns, first come, first served.

    Attributes:
        fence: called at the beginning of each transaction; raises if nothing may be written any more.
    """

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self.fence: Callable[[Connection], None] | None = None
        self._mutex = threading.Lock()  # for `_taken` and `_waiting`; held for moments only
        self._taken = False
        self._waiting: deque[_Turn] = deque()
        self._group: _Group | None = None  # belongs to whose turn it is
        self._inside = threading.local()

    @property
    def waiting(self) -> int:
        """How many blocks wait for their turn."""
        return len(self._waiting)

    @contextmanager
    def block(self) -> Iterator[Connection]:
        """See `Database.transaction`."""
        if getattr(self._inside, "block", False):
            raise RuntimeError("a transaction inside a transaction would wait for itself")
        group = self._join()
        self._inside.block = True
        try:
            yield from self._in_savepoint(group)
        finally:
            self._inside.block = False
            self._leave(group)

    def _in_savepoint(self, group: _Group) -> Iterator[Connection]:
        begun = False
        try:
            with self._backend.translated():
                group.connection.exec_driver_sql("SAVEPOINT block")
                begun = True
                yield group.connection
                group.connection.exec_driver_sql("RELEASE SAVEPOINT block")
        except BaseException as error:
            self._undo(group, begun, error)
            raise

    def _undo(self, group: _Group, begun: bool, error: BaseException) -> None:
        """If the block cannot be undone alone, nobody's is committed."""
        try:
            if not begun or isinstance(error, UnreachableError):
                raise error
            with self._backend.translated():
                group.connection.exec_driver_sql("ROLLBACK TO SAVEPOINT block")
                group.connection.exec_driver_sql("RELEASE SAVEPOINT block")
        except BaseException as failure:
            group.failure = failure

    def _join(self) -> _Group:
        """Wait for the turn; the open transaction, or a new one."""
        turn = _Turn()
        with self._mutex:
            if self._taken:
                self._waiting.append(turn)
            else:
                self._taken = True
                turn.given.set()
        try:
            turn.given.wait()
        except BaseException:
            self._abandon(turn)
            raise
        if turn.failure is not None:
            raise _again(turn.failure)
        if self._group is None:
            self._group = self._begin()
        self._group.blocks += 1
        return self._group

    def _begin(self) -> _Group:
        """If there is no database, all who wait are told: else each would find out by itself, in turn."""
        try:
            return _Group(connection=self._open())
        except BaseException as error:
            with self._mutex:
                told, self._taken = list(self._waiting), False
                self._waiting.clear()
            for turn in told:
                turn.failure = error
                turn.given.set()
            raise

    def _open(self) -> Connection:
        connection = self._backend.write()
        try:
            if self.fence is not None:
                with self._backend.translated():
                    self.fence(connection)
        except BaseException:
            connection.close()
            raise
        return connection

    def _leave(self, group: _Group) -> None:
        """Give the turn to the next, who writes on, or commit if there is none; return when it is on disk."""
        if not (group.failure is None and group.blocks < GROUP_MAX and self._give_turn()):
            self._finish(group)
        group.over.wait()
        if group.failure is not None:
            raise _again(group.failure)

    def _finish(self, group: _Group) -> None:
        try:
            if group.failure is None:
                with self._backend.translated():
                    group.connection.commit()
        except BaseException as error:
            group.failure = error
        finally:
            _let_go(group)
            self._group = None
            group.over.set()
            self._pass_on()

    def _give_turn(self) -> bool:
        """To whoever has waited longest; False if nobody waits."""
        with self._mutex:
            return self._give()

    def _pass_on(self) -> None:
        """Give the turn to the next, or to whoever comes."""
        with self._mutex:
            self._taken = self._give()

    def _give(self) -> bool:
        if not self._waiting:
            return False
        self._waiting.popleft().given.set()
        return True

    def _abandon(self, turn: _Turn) -> None:
        """Somebody was interrupted while he waited; if the turn came meanwhile, the next one has it."""
        with self._mutex:
            if turn in self._waiting:
                self._waiting.remove(turn)
                return
        if turn.failure is None:
            if self._group is None:
                self._pass_on()
            else:
                self._leave(self._group)


def _let_go(group: _Group) -> None:
    """Give the connection back, and what failed not to the next one."""
    with suppress(Exception):
        if group.failure is not None:
            group.connection.invalidate()
    with suppress(Exception):
        group.connection.close()


def _again(failure: BaseException) -> BaseException:
    """An error for each thread: one that several raise would collect the traces of all."""
    if isinstance(failure, LockstepError):
        return type(failure)(failure.what, where=failure.where, fix=failure.fix)
    return RuntimeError(f"the commit that this block shared did not succeed: {failure!r}")
