"""A keyed permutation of 0..n-1 that is computed, never stored: any element in constant time.

An unbalanced Feistel network over the 2^k numbers around n (2^(k-1) < n <= 2^k), with cycle walking back
into the range. Sources: Luby and Rackoff, "How to construct pseudorandom permutations from pseudorandom
functions" (1988); Black and Rogaway, "Ciphers with arbitrary finite domains" (2002), for the walk.
"""

from __future__ import annotations

from functools import cached_property

import numpy as np
import numpy.typing as npt

from workers.numerics.randomness import derive

Int64 = npt.NDArray[np.int64]
UInt32 = npt.NDArray[np.uint32]
UInt64 = npt.NDArray[np.uint64]

SIZE_MAX = 2**62
_ROUNDS = 8
_CHUNK = 1 << 17  # elements worked on at once: temporaries stay in a cache, calls cost little beside them


class Permutation:
    """A permutation of `range(size)`, chosen by `key`.

    Args:
        size: how many elements, 0 to 2^62.
        key: an unsigned 64-bit number, as `derive` gives.
    """

    def __init__(self, size: int, key: int) -> None:
        if not 0 <= size <= SIZE_MAX:
            raise ValueError(f"size {size} is not in 0..2^62")
        self.size = size
        self.key = key

    def __call__(self, indices: Int64) -> Int64:
        """Where the elements `indices` (any shape, values below `size`) are sent."""
        flat = np.asarray(indices, dtype=np.int64).ravel()
        if flat.size and not 0 <= flat.min() <= flat.max() < self.size:
            raise IndexError(f"an index is not in 0..{self.size - 1}")
        images = np.empty_like(flat)
        for start in range(0, flat.size, _CHUNK):
            chunk = flat[start : start + _CHUNK].astype(np.uint64)
            images[start : start + _CHUNK] = self._walk(chunk).view(np.int64)
        return images.reshape(np.shape(indices))

    def everything(self) -> Int64:
        """Where each element is sent, in order."""
        images = np.empty(self.size, dtype=np.int64)
        for start in range(0, self.size, _CHUNK):
            chunk = np.arange(start, min(start + _CHUNK, self.size), dtype=np.uint64)
            images[start : start + _CHUNK] = self._walk(chunk).view(np.int64)
        return images

    def _walk(self, numbers: UInt64) -> UInt64:
        """Apply the network until each number is back below `size`: fewer than 2 times on average."""
        if self.size < 2:
            return numbers
        numbers = self._feistel(numbers)
        outside = np.flatnonzero(numbers >= self.size)
        while outside.size:
            numbers[outside] = self._feistel(numbers[outside])
            outside = outside[numbers[outside] >= self.size]
        return numbers

    def _feistel(self, numbers: UInt64) -> UInt64:
        """One bijection of 0..2^k-1. The halves take turns and stay in place, so they may differ in width."""
        high_bits = self._bits // 2
        low_bits = self._bits - high_bits  # at most 31: 32-bit arithmetic is twice as fast as 64-bit
        low_mask, high_mask = np.uint32((1 << low_bits) - 1), np.uint32((1 << high_bits) - 1)
        low = numbers.astype(np.uint32) & low_mask
        high = (numbers >> np.uint64(low_bits)).astype(np.uint32)
        for turn, round_key in enumerate(self._round_keys):
            if turn % 2:
                low ^= _mix(high, round_key) & low_mask
            else:
                high ^= _mix(low, round_key) & high_mask
        return (high.astype(np.uint64) << np.uint64(low_bits)) | low

    @cached_property
    def _bits(self) -> int:
        return max(1, (self.size - 1).bit_length())

    @cached_property
    def _round_keys(self) -> UInt32:
        keys = [derive("feistel", self.key, turn) & 0xFFFFFFFF for turn in range(_ROUNDS)]
        return np.array(keys, dtype=np.uint32)


def _mix(half: UInt32, round_key: np.uint32) -> UInt32:
    """A keyed hash of each number, good in its low bits (the finaliser "lowbias32" of Chris Wellons)."""
    mixed = half + round_key
    mixed ^= mixed >> np.uint32(16)
    mixed *= np.uint32(0x7FEB352D)
    mixed ^= mixed >> np.uint32(15)
    mixed *= np.uint32(0x846CA68B)
    mixed ^= mixed >> np.uint32(16)
    return mixed
