"""Tells a process's death to others on its machine before the kernel has cleared it away.

Connections of a process that is killed close only when its memory has been given back: tens of milliseconds
for a small one, seconds for one that has pinned much. Locks are looked at first: a robust mutex in shared
memory, held by a thread that does nothing else, passes to whoever waits for it as soon as that thread is gone
(`pthread_mutexattr_setrobust(3)`, `get_robust_list(2)`).
"""

from __future__ import annotations

import ctypes
import errno
import mmap
import os
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

_NAME = "lockstep-lifesign-{pid}"
_ROBUST = _PROCESS_SHARED = 1
_ATTRIBUTES_BYTES = 64  # more than any platform's pthread_mutexattr_t


def give() -> None:
    """Be watchable from now on. Does nothing where the platform has no such locks."""
    with suppress(OSError, AttributeError):  # not Linux
        memory = _map(os.memfd_create(_NAME.format(pid=os.getpid())))
        given = threading.Event()
        threading.Thread(target=_hold, args=(memory, given), name="lifesign", daemon=True).start()
        given.wait()


def watch(pid: int) -> Callable[[], bool] | None:
    """A process on this machine that has called `give`.

    Returns:
        a function that returns when that process is dying, however long it lives; True if it has seen that.
        None if the process cannot be watched.
    """
    try:
        memory = _map(os.open(_find(pid), os.O_RDWR))
    except OSError:
        return None

    def is_dying() -> bool:
        libc, mutex = ctypes.CDLL(None), _address(memory)  # which must live as long as this function
        taken = libc.pthread_mutex_lock(mutex)  # whoever gets it: its holder is gone
        if taken == errno.EOWNERDEAD:
            libc.pthread_mutex_consistent(mutex)
        if taken in (0, errno.EOWNERDEAD):
            libc.pthread_mutex_unlock(mutex)  # for the next who waits
        return taken in (0, errno.EOWNERDEAD)

    return is_dying


def _hold(memory: mmap.mmap, given: threading.Event) -> None:
    libc, mutex = ctypes.CDLL(None), _address(memory)
    attributes = ctypes.create_string_buffer(_ATTRIBUTES_BYTES)
    libc.pthread_mutexattr_init(attributes)
    libc.pthread_mutexattr_setpshared(attributes, _PROCESS_SHARED)
    libc.pthread_mutexattr_setrobust(attributes, _ROBUST)
    libc.pthread_mutex_init(mutex, attributes)
    libc.pthread_mutex_lock(mutex)
    given.set()
    threading.Event().wait()


def _map(file: int) -> mmap.mmap:
    """A page of a file. The map keeps a descriptor of its own open, by which others find it."""
    try:
        if os.fstat(file).st_size == 0:
            os.ftruncate(file, mmap.PAGESIZE)
        return mmap.mmap(file, mmap.PAGESIZE)
    finally:
        os.close(file)


def _address(memory: mmap.mmap) -> ctypes.c_void_p:
    return ctypes.c_void_p(ctypes.addressof(ctypes.c_char.from_buffer(memory)))


def _find(pid: int) -> Path:
    for entry in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(OSError):
            if _NAME.format(pid=pid) in os.readlink(entry):
                return entry
    raise FileNotFoundError(f"process {pid} gives no sign")
