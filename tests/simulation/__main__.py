"""Live many seeds, or one and tell its story: `python -m tests.simulation --seeds 100000 --jobs 2`."""

from __future__ import annotations

import argparse
import sys
import time

from tests.simulation.life import live, silent
from tests.simulation.many import Tally, tally_all

_SHOWN = 5


def main() -> int:
    """Returns 1 if a life went wrong."""
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    parser.add_argument("--seeds", type=int, default=10_000, help="how many lives")
    parser.add_argument("--from", type=int, default=0, dest="start", help="the first seed")
    parser.add_argument("--seed", type=int, help="live only this one")
    parser.add_argument("--verbose", action="store_true", help="with --seed: tell all that happens")
    parser.add_argument("--jobs", type=int, default=2, help="processes")
    options = parser.parse_args()
    if options.seed is not None:
        return _one(options.seed, options.verbose)
    return _many(options.start, options.seeds, options.jobs)


def _one(seed: int, verbose: bool) -> int:
    life = live(seed, print if verbose else silent)
    print(life.failure or f"seed {seed}: {life.ending} after {life.seconds:.1f} virtual seconds")
    return int(life.failure is not None)


def _many(start: int, count: int, jobs: int) -> int:
    found, begin, shown = Tally(), time.monotonic(), 0
    for part in tally_all(start, count, jobs):
        found.merge(part)
        for seed, failure in part.failures:
            shown += 1
            print(f"seed {seed}: {failure if shown <= _SHOWN else failure.splitlines()[0]}")
        if sys.stderr.isatty():
            rate = found.lives / (time.monotonic() - begin)
            print(
                f"{found.lives} seeds, {rate:.0f}/s, {len(found.failures)} failed", end="\r", file=sys.stderr
            )
    print(f"\n{found.lives / (time.monotonic() - begin):.0f} seeds/s with {jobs} processes")
    print(found.table())
    print(f"failed: {[seed for seed, _ in found.failures]}" if found.failures else "none failed")
    return int(bool(found.failures))


if __name__ == "__main__":
    sys.exit(main())
