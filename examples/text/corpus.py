"""Real text that every machine with Python has: its help topics and the standard library's sources.

Which document is held out depends on its name alone, so that no document is in both parts.
"""

from __future__ import annotations

import hashlib
import sysconfig
from collections.abc import Iterator
from pathlib import Path
from pydoc_data import topics
from typing import Literal

import numpy as np

Part = Literal["train", "eval"]

#: Installed packages, tests and generated tables are not text that people wrote for this library.
SKIPPED_FOLDERS = {"site-packages", "dist-packages", "test", "tests", "idle_test", "encodings", "pydoc_data"}
HELD_OUT_ONE_IN = 24
SEPARATOR = b"\0"


def documents() -> Iterator[tuple[str, bytes]]:
    """All documents in name order, as (name, text)."""
    for name in sorted(topics.topics):
        yield f"topics/{name}", topics.topics[name].encode()
    library = Path(sysconfig.get_path("stdlib"))
    for path in sorted(library.rglob("*.py")):
        inner = path.relative_to(library)
        if not SKIPPED_FOLDERS & set(inner.parts):
            yield f"library/{inner.as_posix()}", path.read_bytes()


def part_of(name: str) -> Part:
    """Whether a document is trained on or held out: about one in `HELD_OUT_ONE_IN` is held out."""
    number = int.from_bytes(hashlib.sha256(name.encode()).digest()[:4], "big")
    return "eval" if number % HELD_OUT_ONE_IN == 0 else "train"


def text_of(part: Part) -> bytes:
    """The documents of one part in a row, each followed by `SEPARATOR`."""
    return b"".join(text + SEPARATOR for name, text in documents() if part_of(name) == part)


def windows(text: bytes, context: int) -> np.ndarray:
    """Cut text into windows of `context + 1` bytes that overlap by one, so that each byte is predicted once.

    Returns:
        uint8 of shape (windows, context + 1). Bytes at the end that fill no window are left out.
    """
    stream = np.frombuffer(text, dtype=np.uint8)
    count = max(0, (len(stream) - 1) // context)
    starts = np.arange(count)[:, None] * context
    cut: np.ndarray = stream[starts + np.arange(context + 1)]
    return cut
