"""python -m tests.service [--seeds N] [--first SEED]      lives of a server in fake time
python -m tests.service --real [--jobs 11] [--kills 20]    a real one on a real cluster"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from tests.service.life import live

#: Kinds of events that are printed.
_TOLD = ("state", "resize")


def main() -> int:
    """The exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--seeds", type=int, default=200)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--real", action="store_true")
    parser.add_argument("--jobs", type=int, default=11)
    parser.add_argument("--kills", type=int, default=0)
    arguments = parser.parse_args()
    if arguments.real:
        return _real(arguments.jobs, arguments.kills)
    return _simulated(arguments.first, arguments.seeds)


def _short(event: dict[str, Any]) -> str:
    """A change of state or of size, in a word or two."""
    if event["kind"] == "state":
        return f"{event['after']}({event['cause']})"
    return f"{sum(event['places'].values())} workers({event['cause']})"


def _simulated(first: int, seeds: int) -> int:
    begin = time.monotonic()
    jobs = kills = failures = 0
    ends: dict[str, int] = {}
    for seed in range(first, first + seeds):
        life = live(seed)
        jobs, kills = jobs + life.jobs, kills + life.kills
        for end, count in life.ends.items():
            ends[end] = ends.get(end, 0) + count
        if life.failure is not None:
            failures += 1
            print(life.failure)
    took = time.monotonic() - begin
    print(f"{seeds} lives, {jobs} jobs, {kills} kills, ends {ends}, {failures} failures, {took:.0f} s")
    return min(failures, 1)


def _real(jobs: int, kills: int) -> int:
    from tests.service.real import play

    with tempfile.TemporaryDirectory() as folder:
        calm, result = play(Path(folder), jobs=jobs, kills=kills)
    print(f"{len(result.states)} jobs, all with digest {calm[:16]}")
    print(f"{result.kills} kills; {result.seconds:.0f} s")
    print(f"most workers at once: {result.most}")
    for name, events in sorted(result.events.items()):
        print(f"  {name}: {' '.join(_short(event) for event in events if event['kind'] in _TOLD)}")
        print(f"    waited for {', '.join(sorted(result.seen.get(name, ()))) or 'nothing'}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
