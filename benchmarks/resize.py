"""What the members of a running job see of a resize: the longest time between two steps, beside a usual one.

    python benchmarks/resize.py [--rounds 3]

One job goes 1 → 4 → 2 → 3 workers in mid-epoch, on a Ray of its own on this machine. Around each change the
longest time between two steps is taken from the workers' own clocks; the start-up of new workers overlaps
with training and does not count.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

LOCKSTEP = str(Path(sys.executable).with_name("lockstep"))
ROOT = Path(__file__).parents[1]
TARGETS = (4, 2, 3)
PATIENCE_SECONDS = 120.0
NEAR = 12  # steps on either side of a change that say what is usual
Log = list[dict]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    pauses: dict[str, list[tuple[float, float]]] = {}
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run([sys.executable, str(ROOT / "examples/text/prepare.py"), folder], check=True)
        for number in range(options.rounds):
            for change, gap, usual in run(Path(folder), number):
                pauses.setdefault(change, []).append((gap, usual))
    load = os.getloadavg()[0]
    print(f"\npause of the members at a change, {options.rounds} rounds, load {load:.1f}")
    for change, found in pauses.items():
        extra = [gap - usual for gap, usual in found]
        usual = statistics.median(usual for _, usual in found)
        print(
            f"  {change:<22}{statistics.median(extra) * 1e3:7.0f} ms median {max(extra) * 1e3:7.0f} ms worst"
            f"   (beside a usual step of {usual * 1e3:.0f} ms)"
        )


def run(folder: Path, number: int) -> list[tuple[str, float, float]]:
    """One job; for each of its changes what it was, the gap between two steps, and the usual gap."""
    log, environment = folder / f"{number}.jsonl", {**os.environ, "LOCKSTEP_NAMESPACE": f"resize-{number}"}
    command = [
        LOCKSTEP, "run", str(ROOT / "examples/text/job.yaml"), "--workers", "1", "--log", str(log),
        "--metrics", "127.0.0.1:0", "--set", "stop.steps=100000",
        "--set", f"data.train.uri={folder}/train", "--set", f"data.eval.uri={folder}/eval",
        "--set", f"checkpoint.uri={folder}/runs-{number}",
    ]  # fmt: skip
    with subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL) as process:
        try:
            wait_for(log, lambda entries: last_step(entries) >= NEAR, process)
            for target in TARGETS:
                subprocess.run([LOCKSTEP, "resize", "pydoc-text", str(target)], env=environment, check=True)
                wait_for(log, lambda entries, t=target: members(entries) == t, process)
                settled = last_step(read(log))
                wait_for(log, lambda entries, s=settled: last_step(entries) >= s + 2 * NEAR, process)
        finally:
            subprocess.run([LOCKSTEP, "cancel", "pydoc-text"], env=environment)
            process.wait(60)
    return changes(read(log))


def changes(log: Log) -> list[tuple[str, float, float]]:
    """Each generation after the first: the reason, the gap between the steps around it, and the usual one."""
    times = {entry["step"]: entry["time"] for entry in log if entry["kind"] == "step"}
    found = []
    for entry in log:
        if entry["kind"] == "formed" and entry["cause"] is None and entry["step"] in times:
            step = entry["step"]
            around = [
                s for s in range(step - NEAR, step + NEAR) if s != step and s in times and s + 1 in times
            ]
            usual = statistics.median(times[s + 1] - times[s] for s in around)
            found.append(
                (entry["reason"].rpartition("(")[2].rstrip(")"), times[step + 1] - times[step], usual)
            )
    return [change for change in found if change[0] != "the first generation"]


def members(log: Log) -> int:
    """How many workers the last generation has."""
    formed = [e["reason"] for e in log if e["kind"] == "formed" and e["cause"] is None]
    return int(formed[-1].split(": ")[1].split()[0])


def last_step(log: Log) -> int:
    return max((entry["step"] for entry in log if entry["kind"] == "step"), default=0)


def read(path: Path) -> Log:
    if not path.exists():
        return []
    return [json.loads(line) for line in path.read_text().splitlines(keepends=True) if line.endswith("\n")]


def wait_for(path: Path, condition: Callable[[Log], bool], process: subprocess.Popen) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not condition(read(path)):
        if process.poll() is not None or time.monotonic() > deadline:
            raise RuntimeError(f"the job ended, or hangs: see {path}")
        time.sleep(0.2)


if __name__ == "__main__":
    main()
