"""Many lives, on several processes: what was exercised, and what went wrong."""

from __future__ import annotations

import gc
import multiprocessing
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from tests.simulation.life import Life, live

#: Seeds that one process lives before it reports.
_BATCH = 100


@dataclass
class Tally:
    """What some lives had in them."""

    lives: int = 0
    seconds: float = 0.0
    generations: int = 0
    endings: Counter[str] = field(default_factory=Counter)
    troubles: Counter[tuple[str, str]] = field(default_factory=Counter)
    failures: list[tuple[int, str]] = field(default_factory=list)

    def add(self, life: Life) -> None:
        """Count a life."""
        self.lives += 1
        self.seconds += life.seconds
        self.generations += life.generations
        self.endings[life.ending] += 1
        self.troubles.update(life.happened)
        if life.failure is not None:
            self.failures.append((life.seed, life.failure))

    def merge(self, other: Tally) -> None:
        """Count all that another one has counted."""
        self.lives += other.lives
        self.seconds += other.seconds
        self.generations += other.generations
        self.endings += other.endings
        self.troubles += other.troubles
        self.failures += other.failures

    def table(self) -> str:
        """Troubles by kind and by the phase of their victim, and how the jobs ended."""
        kinds: Counter[str] = Counter()
        phases: Counter[str] = Counter()
        for (kind, phase), count in self.troubles.items():
            kinds[kind] += count
            phases[phase] += count
        mean = self.seconds / max(1, self.lives)
        head = (
            f"{self.lives} lives of {mean:.1f} virtual seconds, {self.generations} generations,"
            f" {kinds.total()} troubles"
        )
        return "\n".join(
            [head, _list("troubles", kinds), _list("victims", phases), _list("ends", self.endings)]
        )


def tally(seeds: Iterable[int]) -> Tally:
    """Live these seeds, one after the other."""
    found = Tally()
    collects = gc.isenabled()
    gc.disable()  # a life leaves little behind, and looking for it takes a tenth of the time
    try:
        for seed in seeds:
            found.add(live(seed))
    finally:
        gc.collect()
        if collects:
            gc.enable()
    return found


def tally_all(start: int, count: int, jobs: int) -> Iterator[Tally]:
    """The same on several processes, a batch at a time."""
    batches = [range(n, min(n + _BATCH, start + count)) for n in range(start, start + count, _BATCH)]
    if jobs == 1:
        yield from map(tally, batches)
        return
    with multiprocessing.get_context("spawn").Pool(jobs) as pool:
        yield from pool.imap_unordered(tally, batches)


def _list(title: str, counts: Counter[str]) -> str:
    return f"{title:>9}: " + ", ".join(f"{name} {count}" for name, count in counts.most_common())
