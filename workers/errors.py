"""Errors meant for users: what was wrong, where, and what would be right.

    LockstepError
    ├── InputError            the user's input is wrong; nothing was lost     exit code 2
    │   ├── RecipeError       the recipe does not import or build
    │   ├── DataError         the data set is missing, empty or altered
    │   │   └── DamagedBlockError   a block of it cannot be read
    │   ├── CheckpointError   a checkpoint is missing, altered or another job's
    │   └── AccessError       wrong credentials, no permission, disk full
    └── UnreachableError      a system we need does not answer                exit code 3

Anything else that escapes is a bug of ours or of the user's recipe and keeps its traceback.
"""

from __future__ import annotations


class LockstepError(Exception):
    """Base of all errors that are shown to users as a message, never as a traceback of ours.

    Args:
        what: what was wrong, one sentence without a trailing period.
        where: the file, line, object or field that it was found in.
        fix: what would be right, as an instruction.
    """

    exit_code = 1

    def __init__(self, what: str, *, where: str | None = None, fix: str | None = None) -> None:
        super().__init__(what, where, fix)
        self.what, self.where, self.fix = what, where, fix

    def __reduce__(self) -> tuple[object, ...]:
        return _rebuild, (type(self), self.what, self.where, self.fix)

    def __str__(self) -> str:
        text = f"{self.where}: {self.what}" if self.where else self.what
        return f"{text}\n  → {self.fix}" if self.fix else text


class InputError(LockstepError):
    """The user's input is wrong; nothing was started or lost."""

    exit_code = 2


class RecipeError(InputError):
    """The recipe does not import, build, or keep its contract."""


class DataError(InputError):
    """A data set is missing, empty, altered, or of a kind that we cannot read."""


class DamagedBlockError(DataError):
    """A block of a data set cannot be read.

    Args:
        block: its number, counted through all data sets of a mixture.
    """

    def __init__(
        self, what: str, *, block: int = -1, where: str | None = None, fix: str | None = None
    ) -> None:
        super().__init__(what, where=where, fix=fix)
        self.block = block

    def __reduce__(self) -> tuple[object, ...]:
        return _rebuild_damaged, (self.what, self.block, self.where, self.fix)


class CheckpointError(InputError):
    """A checkpoint is missing, altered, or belongs to another job."""


class AccessError(InputError):
    """The store refused us: wrong credentials, no permission, a full disk."""


class UnreachableError(LockstepError):
    """A system that we need does not answer."""

    exit_code = 3


def _rebuild(kind: type[LockstepError], what: str, where: str | None, fix: str | None) -> LockstepError:
    return kind(what, where=where, fix=fix)


def _rebuild_damaged(what: str, block: int, where: str | None, fix: str | None) -> DamagedBlockError:
    return DamagedBlockError(what, block=block, where=where, fix=fix)
