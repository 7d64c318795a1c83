"""When a fetch takes so much longer than others of its size that a second request for the same is worth it.

Which of a thousand requests a store is slow to answer is chance, and asking again is a new throw of the dice.
See Dean and Barroso, "The Tail at Scale", CACM 56(2), 2013. Pure: times come in from whoever measures them.
"""

from __future__ import annotations

from collections import deque

#: Second requests, as a part of all: what they may cost a store at most,
SHARE = 0.03
#: and how many of them may come at once when there were none for long. A store that has stopped altogether is
#: not helped by more requests.
AT_ONCE = 8
_QUANTILE = 0.97
_KNOWN, _REMEMBERED = 32, 256
_SECONDS_MIN = 0.05  # below, the second request costs more than it can win


class Hedging:
    """Learns how long fetches take, by size. Not thread-safe."""

    def __init__(self) -> None:
        self._took: dict[int, deque[float]] = {}
        self._allowed = 0.0

    def begun(self) -> None:
        """A fetch begins."""
        self._allowed = min(self._allowed + SHARE, float(AT_ONCE))

    def took(self, size_bytes: int, seconds: float) -> None:
        """A fetch has come to its end, well."""
        self._took.setdefault(_kind(size_bytes), deque(maxlen=_REMEMBERED)).append(seconds)

    def late_after(self, size_bytes: int) -> float | None:
        """Seconds after which a fetch of this size is late; None as long as nobody knows.

        Twice what 97 of the latest 100 of similar size stayed below.
        """
        took = self._took.get(_kind(size_bytes), ())
        if len(took) < _KNOWN:
            return None
        return max(_SECONDS_MIN, 2 * sorted(took)[int(_QUANTILE * len(took))])

    def allow(self) -> bool:
        """Whether one more second request may be sent now; if so, it counts."""
        if self._allowed < 1:
            return False
        self._allowed -= 1
        return True


def _kind(size_bytes: int) -> int:
    """Equal for sizes within a factor of two."""
    return size_bytes.bit_length()
