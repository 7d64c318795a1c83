"""A save behind the training tries again, can be given up, and tells what has ended it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from queue import Queue

import pytest

from workers.checkpoint.save import GivenUp
from workers.errors import AccessError, LockstepError, UnreachableError
from workers.training import behind
from workers.training.behind import SaveBehind

SECONDS_MAX = 10.0


class Watched:
    """A save in the hands of a test: each attempt asks what becomes of it."""

    def __init__(self, patience: float = 60.0) -> None:
        self.copying, self.copied = threading.Event(), threading.Event()
        self.attempts: Queue[Queue[BaseException | None]] = Queue()
        self.failing: Queue[LockstepError] = Queue()
        self.over = threading.Event()
        self.save = SaveBehind(
            copy=self._copy,
            write=self._write,
            failing=self.failing.put,
            ended=self.over.set,
            patience=patience,
        )
        self.save.start()

    def _copy(self) -> None:
        assert self.copying.wait(SECONDS_MAX)
        self.copied.set()

    def _write(self) -> None:
        answer: Queue[BaseException | None] = Queue()
        self.attempts.put(answer)
        error = answer.get(timeout=SECONDS_MAX)
        if error is not None:
            raise error

    def answer(self, error: BaseException | None = None) -> None:
        """Let the attempt that is made now, or next, end like this."""
        self.attempts.get(timeout=SECONDS_MAX).put(error)

    def wait(self) -> None:
        assert self.over.wait(SECONDS_MAX)


@pytest.fixture
def watched(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Watched]:
    monkeypatch.setattr(behind, "_PAUSE_SECONDS", 0.001)
    return Watched


def test_the_state_may_change_once_it_is_copied_however_long_writing_takes(watched):
    save = watched()
    save.copying.set()
    save.save.wait_copied()
    assert save.copied.is_set()
    assert not save.save.is_over
    save.answer()
    save.wait()
    assert save.save.is_over
    save.save.check()


def test_it_tries_again_and_tells_of_its_first_trouble_alone(watched):
    save = watched()
    save.copying.set()
    save.answer(UnreachableError("gone"))
    assert save.failing.get(timeout=SECONDS_MAX).what == "gone"
    save.answer(AccessError("denied"))
    save.answer(UnreachableError("gone again"))
    save.answer()
    save.wait()
    assert save.failing.empty()
    assert not save.save.has_failed
    save.save.check()


def test_who_has_no_patience_left_raises_it_where_training_looks(watched):
    save = watched(patience=0.0)
    save.copying.set()
    save.answer(AccessError("denied"))
    save.wait()
    assert save.save.has_failed
    with pytest.raises(AccessError, match="denied"):
        save.save.check()


def test_a_bug_is_not_tried_again(watched):
    save = watched()
    save.copying.set()
    save.answer(ZeroDivisionError("ours"))
    save.wait()
    with pytest.raises(ZeroDivisionError):
        save.save.check()


def test_what_is_given_up_ends_and_is_no_error(watched, monkeypatch):
    monkeypatch.setattr(behind, "_PAUSE_SECONDS", 600.0)
    resting = watched()
    resting.copying.set()
    resting.answer(UnreachableError("gone"))
    resting.failing.get(timeout=SECONDS_MAX)
    resting.save.give_up()
    resting.wait()
    resting.save.check()
    writing = watched()
    writing.copying.set()
    writing.save.give_up()
    if not writing.save.is_over:
        writing.answer(GivenUp()) if not writing.attempts.empty() else None
    writing.wait()
    writing.save.check()
    assert not writing.save.has_failed


def test_copying_that_fails_is_told_and_keeps_nobody_waiting(watched, monkeypatch):
    save = watched()
    monkeypatch.setattr(save, "copied", None)  # so that copying raises
    save.copying.set()
    save.save.wait_copied()
    save.wait()
    with pytest.raises(AttributeError):
        save.save.check()
