"""Ctrl-C and SIGTERM as a request that is looked at where it is safe to stop.

An exception out of a signal handler can surface anywhere: in the middle of an import it leaves modules half
initialised, and while Ray starts it leaves processes behind.
"""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Interruption:
    """Whether the user asked to stop. A second request does not wait for anything: it ends this process."""

    def __init__(self) -> None:
        self.requested = False

    def check(self) -> None:
        """A place where it is safe to stop.

        Raises:
            KeyboardInterrupt: the user asked to.
        """
        if self.requested:
            raise KeyboardInterrupt

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Signals are requests inside; may be nested, where a library has taken a signal for itself."""
        before = {number: signal.getsignal(number) for number in _SIGNALS}
        for number in _SIGNALS:
            signal.signal(number, self._request)
        try:
            yield
        finally:
            for number in _SIGNALS:
                signal.signal(number, before[number])

    def _request(self, number: int, frame: FrameType | None) -> None:
        self.check()
        self.requested = True
