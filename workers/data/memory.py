"""Memory that samples are decoded into: kept when it is freed, since the next samples want the same."""

from __future__ import annotations

import ctypes
from functools import cache

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # glibc's malloc.h; see mallopt(3)
_KEEP_BYTES = 64 << 20
_FROM_HEAP_BYTES = 16 << 20


@cache
def keep_freed_memory() -> None:
    """Have this process's malloc keep up to 64 MiB of freed memory, in each of its arenas.

    By default it gives back to the kernel all that is above 128 KiB, and much of what it gives, samples of
    100 KB say, comes fresh, page by page, each cleared: that took more time than reading such samples.
    Does nothing where malloc is not glibc's.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_MMAP_THRESHOLD, _FROM_HEAP_BYTES)
        mallopt(_TRIM_THRESHOLD, _KEEP_BYTES)
