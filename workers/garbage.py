"""Keeps Python's search for garbage out of the start of a process.

It looks through all that there is, again and again, while modules are imported, and finds nothing: with torch
that is a third of a worker's start.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def settling() -> Iterator[None]:
    """No search during the block; what is there at its end is there to stay, and no later search looks at it.

    For the start of a process: garbage of before, and of the block, stays too.
    """
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        if enabled:
            gc.enable()
