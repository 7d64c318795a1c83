"""The first thing that a decode process runs, by its path: nothing of ours is imported before it is tied
to its parent, because one that is stopped while it imports would otherwise be left behind.
"""

import ctypes
import signal
import sys
from contextlib import suppress

_PR_SET_PDEATHSIG = 1  # prctl(2)


def die_with_parent() -> None:
    """Also when stopped, or in code that never lets go of the interpreter. Where the system can do that."""
    with suppress(OSError, AttributeError):  # not Linux
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


if __name__ == "__main__":
    die_with_parent()
    file_descriptor, *sys.path[:] = sys.argv[1:]
    from workers.data.decoding.child import main

    main(int(file_descriptor))
