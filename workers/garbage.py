"""Keeps Python's search for garbage out of the start of a process.

It looks through all that there is, again and again, while modules are imported, and finds nothing: with torch
that is a third of a worker's start.
"""

from __future__ import annotations

import atexit
import gc
from collections.abc import Iterator
from contextlib import contextmanager

#: So many more objects than before make a search worth its while.
_NEW = 50_000


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


def seldom() -> None:
    """From now on search seldom, and not at the end: for a command, most of whose life is its start.

    What is searched for is only what refers to itself; everything else goes at once, as ever.
    """
    gc.set_threshold(_NEW, 20, 100)
    atexit.register(gc.freeze)  # the interpreter would search once more, though all goes with it
