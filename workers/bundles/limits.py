"""How large a bundle may be, on the way in and on the way out."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Limits:
    """Of one bundle.

    Attributes:
        size: bytes of its files together.
        files: how many, links included.
        depth: folders within folders.
    """

    size: int = 100 * 1024**2
    files: int = 10_000
    depth: int = 64

    @property
    def archive(self) -> int:
        """The most bytes that an archive within these limits can have: a server reads no more than that.

        A file costs its bytes rounded up to 512, a header of 512, and, where its name is long or not ASCII,
        an extended header.
        """
        return self.size + self.files * 8192 + 20_480


LIMITS = Limits()
