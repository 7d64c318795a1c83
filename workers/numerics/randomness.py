"""Random streams by (seed, step, virtual rank): what a pass draws never depends on who runs it, or when."""

from __future__ import annotations

import random
from hashlib import blake2b


def derive(*parts: int | str) -> int:
    """A stable unsigned 64-bit number from any mix of words and integers.

    Parts are separated and tagged with their type, so that ("a", 1) and ("a1",) differ.
    """
    digest = blake2b(digest_size=8)
    for part in parts:
        tag = b"i" if isinstance(part, int) else b"s"
        digest.update(tag + str(part).encode() + b"\0")
    return int.from_bytes(digest.digest(), "little")


def seed_everything(*parts: int | str) -> None:
    """Set every generator that a recipe may draw from: python, numpy, torch and, where it is in use, cuda."""
    import numpy as np
    import torch

    number = derive(*parts)
    random.seed(number)
    np.random.seed(
        number & 0xFFFFFFFF
    )  # of more bits it makes an array first, which takes five times as long
    # Not `torch.manual_seed`: it looks for every kind of device, and keeps a stack trace for each that is not
    # there. That takes a millisecond.
    torch.default_generator.manual_seed(number)
    if torch.cuda.is_initialized():
        torch.cuda.manual_seed_all(number)
