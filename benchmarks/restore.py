"""What it takes to go on from a checkpoint, beside `torch.load` and `torch.distributed.checkpoint.load`.

    python benchmarks/restore.py [--rounds 5]

A state of 101 million float32 values (a model and AdamW's moments), saved once by two workers to the local
disk, is restored to 1, 2, 3 and 4 workers, all sides alternately: seconds from all workers' being ready, with
their model built, to the last one's holding the state. Ours connects in that time too, and verifies the
SHA-256 of every chunk; the peers verify nothing.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections import defaultdict
from pathlib import Path

ROOT = Path(__file__).parents[1]
SUPPORT = ROOT / "benchmarks/support"
OURS, PEERS = "lockstep", ("torch.load", "dcp.load")
WORKERS, SAVED_BY = (1, 2, 3, 4), 2


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    found: dict[tuple[int, str], list[float]] = defaultdict(list)
    with tempfile.TemporaryDirectory() as name:
        for side in (OURS, *PEERS):
            (Path(name) / side).mkdir()
            launch(side, Path(name) / side, SAVED_BY, saves=True)
        for number in range(options.rounds):
            for workers in WORKERS:
                sides = (OURS, *PEERS) if number % 2 == 0 else (*PEERS[::-1], OURS)
                for side in sides:
                    found[workers, side].append(launch(side, Path(name) / side, workers))
            print(f"round {number + 1} of {options.rounds}", file=sys.stderr, flush=True)
    report(found, options.rounds)


def launch(side: str, folder: Path, workers: int, *, saves: bool = False) -> float:
    """One run of a side; the seconds that it says."""
    if side == OURS:
        command = [sys.executable, str(SUPPORT / "restore_ours.py"), folder.as_uri(), str(workers)]
        command += [] if saves else ["resume"]
    else:
        command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node"]
        command += [str(workers), str(SUPPORT / "restore_peer.py"), side, str(folder)]
        command += ["save"] if saves else []
    path = os.pathsep.join((str(ROOT), str(ROOT / "benchmarks")))
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": path}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=600)
    if done.returncode:
        raise SystemExit(f"{side} failed:\n{done.stderr[-3000:]}")
    return float(json.loads(done.stdout.splitlines()[-1])["seconds"])


def report(found: dict[tuple[int, str], list[float]], rounds: int) -> None:
    """Print medians over the rounds, and ratios to the better peer."""
    print(f"\n405 MB of state, local disk, {rounds} rounds; seconds")
    print("  workers" + "".join(f"{side:>12}" for side in (OURS, *PEERS)) + "   ours / better peer")
    for workers in WORKERS:
        medians = [statistics.median(found[workers, side]) for side in (OURS, *PEERS)]
        best = min(PEERS, key=lambda side: statistics.median(found[workers, side]))
        ratios = [a / b for a, b in zip(found[workers, OURS], found[workers, best], strict=True)]
        spread = f"({min(ratios):.2f}..{max(ratios):.2f})"
        times = "".join(f"{seconds:12.2f}" for seconds in medians)
        print(f"  {workers:7}{times}   {statistics.median(ratios):.2f} {spread}  {best}")


if __name__ == "__main__":
    main()
