"""Stands between a runner and one command, so that nothing of the command outlives either. Linux only.

It is a program of its own, with the standard library alone, since it must start in milliseconds:

    python guard.py LIFE STATUS command ...

LIFE is a pipe to read: `T` asks for an orderly end, `K` for the end, and so does its closing, which is how
the runner's death is noticed. STATUS is a pipe to write, a JSON object a line: `{"pid": n}`, then either
`{"code": n}`, `{"signal": n}` or `{"error": "..."}`; the last comes when nothing of the command is left.

The guard is the reaper of all that the command starts (`PR_SET_CHILD_SUBREAPER`, prctl(2)), so that also
those are found that have left the command's process group. On `T` the command gets SIGTERM, and nobody else,
since its helpers may be needed for saving; if it ends with processes of its own left, as a shell does, they
get SIGTERM too, and the rest of the time.
"""

from __future__ import annotations

import ctypes
import json
import os
import select
import signal
import sys
from contextlib import suppress

_PR_SET_PDEATHSIG, _PR_SET_CHILD_SUBREAPER = 1, 36
#: Milliseconds between looks for processes that are left: while they are being killed, and while they may
#: still save.
_KILLING_PAUSE, _WAITING_PAUSE = 20, 250
#: Signals that Python, or whoever started us, has changed; a program expects them as they were.
_RESTORED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGPIPE, signal.SIGXFSZ, signal.SIGCHLD)


class _Guard:
    def __init__(self, life: int, status: int, command: list[str]) -> None:
        self._life, self._status = life, status
        self._child = self._start(command)
        self._ended: int | None = None
        self._terminating = self._killing = False
        self._told: set[int] = set()

    def watch(self, wake: int) -> None:
        """Until nothing of the command is left."""
        listening = (
            select.poll()
        )  # `select` takes no descriptor above 1023, and ours are whoever's started us
        for pipe in (self._life, wake):
            listening.register(pipe, select.POLLIN)
        while True:
            readable = {pipe for pipe, _ in listening.poll(self._pause())}
            if wake in readable:
                os.read(wake, 4096)
            if self._life in readable:
                order = os.read(self._life, 1)
                self._obey(order)
                if not order:
                    listening.unregister(self._life)
            self._reap()
            if self._ended is not None and self._clear():
                self._say_how_it_ended(self._ended)
                return

    def _pause(self) -> int | None:
        if self._killing or (self._ended is not None and not self._terminating):
            return _KILLING_PAUSE
        return None if self._ended is None else _WAITING_PAUSE

    def _start(self, command: list[str]) -> int:
        failed, fail = os.pipe()  # closed by a successful exec
        child = os.fork()
        if not child:
            os.close(failed)
            self._become(command, fail)
        os.close(fail)
        with os.fdopen(failed, "rb") as file:
            error = file.read().decode(errors="replace")
        if error:
            self._say({"error": error})
            sys.exit(1)
        self._say({"pid": child})
        return child

    def _become(self, command: list[str], fail: int) -> None:
        """In the child: a process group of its own, which ends with the guard."""
        try:
            os.setsid()
            ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
            for number in _RESTORED:
                signal.signal(number, signal.SIG_DFL)
            signal.pthread_sigmask(signal.SIG_SETMASK, ())
            os.execvp(command[0], command)
        except OSError as error:
            os.write(fail, (error.strerror or str(error)).encode())
        finally:
            os._exit(127)

    def _obey(self, order: bytes) -> None:
        if order == b"T":
            self._terminating = True
            if self._ended is None:
                with suppress(ProcessLookupError):
                    os.kill(self._child, signal.SIGTERM)
                    os.kill(self._child, signal.SIGCONT)  # it may be stopped
        else:
            self._killing = True

    def _reap(self) -> None:
        with suppress(ChildProcessError):
            while True:
                pid, status = os.waitpid(-1, os.WNOHANG)
                if not pid:
                    break
                if pid == self._child:
                    self._ended = status
        if self._killing or (self._ended is not None and not self._terminating):
            self._signal_all(signal.SIGKILL)

    def _clear(self) -> bool:
        """Whether nobody is left; those who are, after an orderly end of the command, are asked to go too."""
        left = _descendants(os.getpid())
        if left and self._terminating and not self._killing:
            for pid in left - self._told:
                self._told.add(pid)
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGTERM)
        return not left

    def _signal_all(self, number: int) -> None:
        for pid in _descendants(os.getpid()):
            with suppress(ProcessLookupError):
                os.kill(pid, number)

    def _say_how_it_ended(self, status: int) -> None:
        if os.WIFSIGNALED(status):
            self._say({"signal": os.WTERMSIG(status)})
        else:
            self._say({"code": os.WEXITSTATUS(status)})

    def _say(self, what: dict[str, object]) -> None:
        with suppress(BrokenPipeError):  # nobody is left who wants to know
            os.write(self._status, json.dumps(what).encode() + b"\n")


def _descendants(top: int) -> set[int]:
    """Living processes below one, found by everybody's parent."""
    parents: dict[int, int] = {}
    for name in os.listdir("/proc"):
        if name.isdecimal():
            with suppress(OSError, ValueError, IndexError), open(f"/proc/{name}/stat", "rb") as file:
                state, parent = file.read().rpartition(b")")[2].split()[:2]
                if state not in (b"Z", b"X"):
                    parents[int(name)] = int(parent)
    found: set[int] = set()
    level = {top}
    while level:
        level = {pid for pid, parent in parents.items() if parent in level} - found
        found |= level
    return found


def main() -> None:
    """See the module."""
    life, status = int(sys.argv[1]), int(sys.argv[2])
    for number in (life, status):
        os.set_inheritable(number, False)
    if os.fork():  # a process that ends may end its children with it; this is none of them any more
        os._exit(0)
    os.setsid()
    ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    for ignored in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGPIPE):
        signal.signal(ignored, signal.SIG_IGN)
    wake, waker = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    signal.set_wakeup_fd(waker, warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    guard = _Guard(life, status, sys.argv[3:])
    for stream in (0, 1, 2):  # they are the command's: its readers wait for their end
        os.close(stream)
    guard.watch(wake)
    os._exit(0)


if __name__ == "__main__":
    main()
