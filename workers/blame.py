"""Whose fault an error is, and how it is told: to the supervisor, or by a process to its parent."""

from __future__ import annotations

import os
import sysconfig
import traceback
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from workers.errors import LockstepError, UnreachableError
from workers.protocol import Fault

USER_FAILED, INTERNAL = 1, 1

_OURS = f"{Path(__file__).parent}{os.sep}"  # all of workers
#: Neither ours nor the recipe's: the standard library, and what is installed beside us.
_LIBRARIES = tuple(
    f"{sysconfig.get_path(kind)}{os.sep}" for kind in ("stdlib", "platstdlib", "purelib", "platlib")
)


class RaisedElsewhere(Exception):
    """An error in another process. Frames do not travel; what they say does.

    Args:
        told: what `describe` said there.
    """

    def __init__(self, told: Mapping[str, Any]) -> None:
        super().__init__("\n".join(filter(None, [told["trace"], told["message"]])))
        self.told = dict(told)


def describe(error: BaseException) -> dict[str, Any]:
    """How an error is told: class, words, and the user's frames if there are any, as fields of `Failed`."""
    if isinstance(error, RaisedElsewhere):
        return error.told
    if isinstance(error, LockstepError):
        fault = Fault.STORAGE if isinstance(error, UnreachableError) else Fault.INPUT
        trace = user_trace(error) if error.__cause__ is not None and in_user_code(error.__cause__) else None
        return {"fault": fault, "message": str(error), "trace": trace, "exit_code": error.exit_code}
    summary = f"{type(error).__name__}: {error}"
    if _is_out_of_memory(error):
        return {
            "fault": Fault.MEMORY,
            "message": summary,
            "trace": user_trace(error),
            "exit_code": USER_FAILED,
        }
    if in_user_code(error):
        message = f"the recipe raised {summary}"
        return {"fault": Fault.USER, "message": message, "trace": user_trace(error), "exit_code": USER_FAILED}
    return {"fault": Fault.INTERNAL, "message": summary, "trace": user_trace(error), "exit_code": INTERNAL}


def user_trace(error: BaseException) -> str:
    """The traceback of an error as the recipe's author wants it: their frames on top, ours left out.

    A LockstepError that was raised from another one shows that one's. An error that never was in user code
    keeps its whole traceback.
    """
    if isinstance(error, LockstepError) and error.__cause__ is not None:
        error = error.__cause__
    trace = next(filter(_is_users, _frames(error)), None)
    if trace is None and not isinstance(error, SyntaxError):  # which names the place in its own text
        trace = error.__traceback__
    return "".join(traceback.format_exception(type(error), error, trace))


def in_user_code(error: BaseException) -> bool:
    """Whether the error came out of a call into the recipe, or says that its source cannot be read."""
    if isinstance(error, SyntaxError) and error.filename is not None:
        return not error.filename.startswith((_OURS, *_LIBRARIES))
    return any(map(_is_users, _frames(error)))


def _frames(error: BaseException) -> Iterator[TracebackType]:
    trace = error.__traceback__
    while trace is not None:
        yield trace
        trace = trace.tb_next


def _is_users(trace: TracebackType) -> bool:
    file = trace.tb_frame.f_code.co_filename
    return not file.startswith(("<", _OURS, *_LIBRARIES))


def _is_out_of_memory(error: BaseException) -> bool:
    """Of the GPU or of the machine; torch's allocator for the latter has no error type of its own."""
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return True
    return isinstance(error, RuntimeError) and "can't allocate memory" in str(error)
