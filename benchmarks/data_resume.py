"""Resuming inside an epoch: from nothing to the addresses of the first batch, and the memory that it takes.

    python benchmarks/data_resume.py [--rounds 5] [--peer-samples 10000000]

Ours: a synthetic manifest of 10^6 blocks that hold 10^9 samples, a job of 64 virtual ranks and micro-batches
of 32; this worker hosts 8 of them. The clock starts with the manifest in memory, and stops with block and row
of each sample of the first step. Both kinds of shuffle: windowed is what a set of that size gets by default.

mosaicml-streaming: `load_state_dict`, not timed, then what its iterator does before its first sample. That
computes the whole rest of the epoch, so time and memory grow with the data set: at 10^9 samples each of its
arrays would take 8 GB. It is measured at `--peer-samples`, and at a tenth of that. webdataset and ray.data
cannot resume inside an epoch.

Every measurement has a process of its own. Memory is what its peak grew by, in resident bytes.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

POSITIONS = (0.0, 0.5, 0.9, 0.999)
ROOT = Path(__file__).parents[1]
PROBE = ROOT / "benchmarks/support/resume_probe.py"
TARGET_SECONDS, TARGET_BYTES = 0.050, 200e6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--peer-samples", type=int, default=10_000_000)
    options = parser.parse_args()
    print(f"targets: {TARGET_SECONDS * 1000:.0f} ms, {TARGET_BYTES / 1e6:.0f} MB")
    with tempfile.TemporaryDirectory() as folder:
        for side, samples in (
            ("windowed", 10**9),
            ("global", 10**9),
            ("mosaicml-streaming", options.peer_samples // 10),
            ("mosaicml-streaming", options.peer_samples),
        ):
            print(f"\n{side}, {samples:.0e} samples\n  {'position':>10}{'ms':>10}{'MB':>10}")
            for position in POSITIONS:
                report(side, samples, position, options.rounds, folder)


def report(side: str, samples: int, position: float, rounds: int, folder: str) -> None:
    """Measure and print one line."""
    found = []
    for _ in range(rounds):
        command = [sys.executable, str(PROBE), side, str(samples), str(position), folder]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, (ROOT / "benchmarks", ROOT)))}
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
        if done.returncode:
            print(f"  {position:10.1%}  cannot: {done.stderr.strip().splitlines()[-1]}")
            return
        found.append(json.loads(done.stdout.splitlines()[-1]))
    seconds, size = (statistics.median(one[key] for one in found) for key in ("seconds", "bytes"))
    print(f"  {position:10.1%}{seconds * 1000:10.1f}{size / 1e6:10.1f}")


if __name__ == "__main__":
    main()
