"""A save that goes on behind the training: what is left to copy, then hashing and writing, in a thread."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from workers.checkpoint.save import GivenUp
from workers.errors import LockstepError

_PAUSE_SECONDS, _PAUSE_SECONDS_MAX = 0.5, 30.0


class SaveBehind:
    """One save on its way. It tries until it succeeds, is given up, or has lost its patience.

    Args:
        copy: copies what may not change before it is copied.
        write: makes the save durable and reports that; called again if it raised a `LockstepError`.
        failing: told of the first error.
        ended: called at its end, whatever that is.
        patience: seconds for which errors are taken for passing.
    """

    def __init__(
        self,
        *,
        copy: Callable[[], None],
        write: Callable[[], None],
        failing: Callable[[LockstepError], None],
        ended: Callable[[], None],
        patience: float,
    ) -> None:
        self._copy, self._write, self._failing, self._ended = copy, write, failing, ended
        self._patience, self._begun = patience, time.monotonic()
        self._copied, self._over, self._given_up = threading.Event(), threading.Event(), threading.Event()
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="save", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    @property
    def is_over(self) -> bool:
        """Whether nothing of it goes on any more."""
        return self._over.is_set()

    @property
    def is_given_up(self) -> bool:
        """Whether nobody wants it any more."""
        return self._given_up.is_set()

    def give_up(self) -> None:
        """Nobody wants it any more: it ends with the request that it is in."""
        self._given_up.set()

    def wait_copied(self) -> None:
        """Return when the state may change."""
        self._copied.wait()

    @property
    def has_failed(self) -> bool:
        """Whether an error has ended it."""
        return self.is_over and self._error is not None and not self.is_given_up

    def check(self) -> None:
        """Raise what ended it, if that was an error."""
        if self._error is not None and self.has_failed:
            raise self._error

    def _run(self) -> None:
        try:
            try:
                self._copy()
            finally:
                self._copied.set()
            self._try_to_write()
        except GivenUp:
            pass
        except BaseException as error:  # raised in the engine's thread
            self._error = error
        finally:
            self._over.set()
            self._ended()

    def _try_to_write(self) -> None:
        pause = _PAUSE_SECONDS
        while not self.is_given_up:
            try:
                self._write()
                return
            except LockstepError as error:
                if time.monotonic() - self._begun > self._patience:
                    raise
                if pause == _PAUSE_SECONDS:
                    self._failing(error)
            self._given_up.wait(pause)
            pause = min(2 * pause, _PAUSE_SECONDS_MAX)
