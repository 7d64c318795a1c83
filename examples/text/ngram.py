"""The yardstick: a byte 3-gram model with interpolated Kneser-Ney smoothing (Chen & Goodman, 1999), in numpy.

The discount is chosen on a tenth of the training text that the counts of that trial do not include.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

BYTES = 256
DISCOUNTS = (0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95)
TUNING_SHARE = 10  # one tenth


@dataclass(frozen=True, kw_only=True)
class Trigram:
    """Counts of a fitted model.

    Attributes:
        triples: occurrences of each 3-byte string, shape (256, 256, 256).
        pairs: number of different bytes seen before each 2-byte string, shape (256, 256).
        discount: what is taken from each count and given to shorter contexts, in (0, 1).
    """

    triples: np.ndarray
    pairs: np.ndarray
    discount: float

    def bits_per_byte(self, text: np.ndarray) -> float:
        """Mean bits needed for each byte of `text` (uint8) from the third on."""
        a, b, c = text[:-2], text[1:-1], text[2:]
        singles = self.pairs.sum(axis=0)  # different bytes seen before each byte
        unigram = _interpolate(singles, np.full(BYTES, 1 / BYTES), self.discount)
        bigram = _interpolate(self.pairs, unigram, self.discount)
        contexts, where = np.unique(a.astype(np.int32) * BYTES + b, return_inverse=True)
        trigram = _interpolate(
            self.triples.reshape(-1, BYTES)[contexts], bigram[contexts % BYTES], self.discount
        )
        return float(-np.log2(trigram[where, c]).mean())


def fit(text: np.ndarray) -> Trigram:
    """Fit to `text` (uint8): choose the discount, then count everything."""
    cut = len(text) - len(text) // TUNING_SHARE
    trial, tuning = _count(text[:cut]), text[cut:]
    best = min(DISCOUNTS, key=lambda d: Trigram(**trial, discount=d).bits_per_byte(tuning))
    return Trigram(**_count(text), discount=best)


def _count(text: np.ndarray) -> dict[str, np.ndarray]:
    codes = text.astype(np.int32)
    codes = (codes[:-2] * BYTES + codes[1:-1]) * BYTES + codes[2:]
    triples = np.bincount(codes, minlength=BYTES**3).astype(np.int32).reshape(BYTES, BYTES, BYTES)
    return {"triples": triples, "pairs": np.count_nonzero(triples, axis=0)}


def _interpolate(counts: np.ndarray, shorter: np.ndarray, discount: float) -> np.ndarray:
    """Discounted relative frequencies along the last axis, mixed with the shorter context's distribution."""
    total = counts.sum(axis=-1, keepdims=True)
    kept = np.maximum(counts - discount, 0) / np.maximum(total, 1)
    freed = discount * np.count_nonzero(counts, axis=-1, keepdims=True) / np.maximum(total, 1)
    mixed: np.ndarray = kept + np.where(total > 0, freed, 1.0) * shorter
    return mixed
