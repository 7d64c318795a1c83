"""Decodes micro-batches in processes of its own; the batches are those of threads, bit for bit."""

from __future__ import annotations

import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from workers.blame import RaisedElsewhere
from workers.data.decoder import Decoding
from workers.data.decoding import wire
from workers.data.decoding.child import Answer, Setup, Task
from workers.data.permutation import Int64
from workers.data.records import Records, joined
from workers.errors import RecipeError
from workers.recipe import Batch, Recipe

#: So often a micro-batch is begun, each time in a new process, before it counts as what kills them.
_TRIES = 3
_NAMED_SAMPLES = 8
#: A fresh interpreter, and never a fork: this process has threads, and clients that do not survive one.
_START = Path(__file__).with_name("start.py")


class ProcessDecoder:
    """Decodes several micro-batches at once, each in one process.

    A process that dies is replaced, and its micro-batch done again. Processes start when there is work for
    them, and end with this one, however it ends.

    Args:
        load: makes the recipe, in each process. Must be importable there by its name.
        seed: the job's.
        processes: how many at most.
    """

    def __init__(self, load: Callable[[], Recipe], seed: int, processes: int) -> None:
        self.ahead = 2 * processes  # one is being decoded, and one waits for that
        self._setup = wire.pack(Setup(load=load, seed=seed))
        # Each thread has a process, for as long as the thread lives: the kernel ends a child with the thread
        # that began it.
        self._pool = ThreadPoolExecutor(processes, thread_name_prefix="decode")
        self._own = threading.local()
        self._children: set[_Child] = set()
        self._lock = threading.Lock()
        self._closed = False

    def begin(self, epoch: int, records: Records, sample_ids: Int64) -> Decoding:
        """Have a micro-batch decoded; see `Decoder.__call__`. What that raises, `result` raises.

        `result` also raises RecipeError: decoding this micro-batch kills processes.
        """
        return self._pool.submit(
            self._decode, Task(epoch=epoch, records=joined(records), sample_ids=sample_ids)
        )

    def close(self) -> None:
        """End the processes, whatever they are doing."""
        with self._lock:
            self._closed = True
            children = list(self._children)
        self._pool.shutdown(wait=False, cancel_futures=True)
        for child in children:
            child.end()

    @property
    def pids(self) -> list[int]:
        """The processes that there are."""
        with self._lock:
            return [child.pid for child in self._children]

    def _decode(self, task: Task) -> Batch:
        parts = wire.pack(task)
        for _ in range(_TRIES):
            child = self._child()
            try:
                answer = child.ask(parts)
            except (EOFError, OSError):
                cause = self._bury(child)
                continue
            if answer.failure is not None:
                raise RaisedElsewhere(answer.failure)
            return answer.batch
        raise _deadly(task, cause)

    def _child(self) -> _Child:
        """This thread's process."""
        child: _Child | None = getattr(self._own, "child", None)
        if child is None:
            with self._lock:
                if self._closed:
                    raise RuntimeError("the decoder is closed")
                child = self._own.child = _Child()
                self._children.add(child)
            child.begin(self._setup)
        return child

    def _bury(self, child: _Child) -> str:
        """Forget a process that died; how it ended, in words."""
        self._own.child = None
        with self._lock:
            self._children.discard(child)
        return child.end()


class _Child:
    """One process, and the socket that leads to it."""

    def __init__(self) -> None:
        self._channel, theirs = socket.socketpair()
        with theirs:
            command = [sys.executable, str(_START), str(theirs.fileno()), *sys.path]
            self._process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, pass_fds=(theirs.fileno(),), close_fds=True
            )
        self.pid = self._process.pid
        self._talking = threading.Lock()

    def begin(self, setup: wire.Parts) -> None:
        """Send what comes before all tasks. That it is dead already is found out by who asks."""
        try:
            wire.send(self._channel, setup)
        except OSError:
            return

    def ask(self, task: wire.Parts) -> Answer:
        """Send a task and wait for its answer. Raises EOFError or OSError: the process is gone."""
        with self._talking:
            wire.send(self._channel, task)
            answer: Answer = wire.receive(self._channel)
        return answer

    def end(self) -> str:
        """Kill the process, if it lives, and wait for its end; how it ended, in words."""
        self._process.kill()
        code = self._process.wait()
        with self._talking:  # whoever waits for its answer hears now that there is none
            self._channel.close()
        return f"was killed by signal {-code}" if code < 0 else f"ended with exit code {code}"


def _deadly(task: Task, cause: str) -> RecipeError:
    ids = task.sample_ids.tolist()
    named = ", ".join(map(str, ids[:_NAMED_SAMPLES])) + (", ..." if len(ids) > _NAMED_SAMPLES else "")
    what = f"decoding samples {named} (epoch {task.epoch}) ended {_TRIES} processes; the last one {cause}"
    fix = "decode them alone to see why; signal 9 is often a machine that is out of memory"
    return RecipeError(what, where="data.decode.processes", fix=fix)
