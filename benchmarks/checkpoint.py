"""What a checkpoint costs, beside `torch.save`, `torch.distributed.checkpoint` and its `async_save`.

    python benchmarks/checkpoint.py [--store local|s3] [--rounds 5] [--steps 25] [--every 6]

All sides train the same model of 33.6 million parameters with AdamW, 101 million float32 values in all, on
two workers of one thread, and save every so many steps: to the local disk, or to Ceph's S3 gateway on this
machine, `torch.save` through boto3 and the others of torch through s3fs. (That wants an older boto3 than the
pinned one, so an environment of its own: `pip install s3fs`.) They run alternately; the first save of each
run, in which memory is laid out, does not count. For each save:

* `stands still`: how long training is kept from going on, on the worker that is kept longest: until the call
  returns, for the peers. For ours, with what the next step had to wait for copies.
* `costs in all`: by how much the steps until the next save took longer than those before the first one.
* `durable after`: from the end of its step until it was on the disk; ours with every chunk fsynced.

`one copy` is what copying half of the state from memory to memory takes, twice over kept memory, in one
thread, as a measure of what no asynchronous save can do without. Peak memory is of the larger worker.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import torch

from workers.storage import Store

ROOT = Path(__file__).parents[1]
SUPPORT = ROOT / "benchmarks/support"
WORKERS = 2
OURS = "lockstep"
PEERS = ("torch.save", "dcp.save", "async_save, thread", "async_save, process")
STATE_BYTES = 4 * 3 * 8 * (2048 * 2048 + 2048)
PATIENCE_SECONDS = 120
TARGET, COPIES_TARGET = 1 / 5, 1.5

Run = dict[str, Any]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--store", choices=("local", "s3"), default="local")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=25)
    parser.add_argument("--every", type=int, default=6)
    options = parser.parse_args()
    found: dict[str, list[Run]] = defaultdict(list)
    hung: list[str] = []
    copies: list[float] = []
    with place(options.store) as root:
        for number in range(options.rounds):
            sides = (OURS, *PEERS) if number % 2 == 0 else (*PEERS[::-1], OURS)
            for side in (side for side in sides if side not in hung):
                run = launch(side, fresh(root), options.steps, options.every)
                if run is None:
                    hung.append(side)
                    found.pop(side, None)
                    print(f"round {number + 1}: {side}: no end after {PATIENCE_SECONDS} s", file=sys.stderr)
                    continue
                found[side].append(per_save(run, options.every))
                print(f"round {number + 1}: {side}: {found[side][-1]}", file=sys.stderr, flush=True)
            copies.append(one_copy())
    report(found, copies, options.store)
    for side in hung:
        print(f"  {side} did not come to an end within {PATIENCE_SECONDS} s, and was left out")


@contextmanager
def place(kind: str) -> Iterator[str]:
    """Where saves go: a folder, or the URI of a bucket."""
    with tempfile.TemporaryDirectory() as name:
        if kind == "local":
            yield f"{name}/saves"
            return
        sys.path.insert(0, str(ROOT))
        from tests.support.s3 import HOW_TO_INSTALL, missing_programs, s3_server

        if missing := missing_programs():
            raise SystemExit(f"{', '.join(missing)} are missing: {HOW_TO_INSTALL}")
        with s3_server(Path(name)) as server:
            os.environ.update(server.environment())
            yield f"s3://{server.make_bucket('bench')}/saves"


def fresh(root: str) -> str:
    """A place that is empty, like the one before, which is emptied."""
    if root.startswith("s3:"):
        Store(root).delete([info.name for info in Store(root).list()])
    else:
        shutil.rmtree(root, ignore_errors=True)
        Path(root).mkdir()
    return root


def launch(side: str, uri: str, steps: int, every: int) -> Run | None:
    """One run of a side; None if it hangs."""
    if side == OURS:
        ours = uri if uri.startswith("s3:") else Path(uri).as_uri()
        command = [sys.executable, str(SUPPORT / "checkpoint_ours.py"), ours]
    else:
        command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node"]
        command += [
            str(WORKERS),
            str(SUPPORT / "checkpoint_peer.py"),
            side.replace("_save, ", " "),
            uri,
        ]
    path = os.pathsep.join((str(ROOT), str(ROOT / "benchmarks")))
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": path}
    command += [str(steps), str(every)]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(command, env=environment, text=True, **pipes) as process:
        try:
            out, errors = process.communicate(timeout=PATIENCE_SECONDS)
        except subprocess.TimeoutExpired:
            everybody = psutil.Process(process.pid)
            for one in [*everybody.children(recursive=True), everybody]:
                one.kill()
            return None
    if process.returncode:
        raise SystemExit(f"{side} failed:\n{errors[-3000:]}")
    return json.loads(out.splitlines()[-1])


def per_save(run: Run, every: int) -> dict[str, float]:
    """Medians over the saves of a run, but for the first."""
    saves = sorted(int(step) for step in run["stood"])[1:]
    ends = {int(step): when for step, when in run["ends"].items()}
    calm = statistics.median(ends[step] - ends[step - 1] for step in range(2, every + 1))
    costs = [ends[step + every] - ends[step] - every * calm for step in saves if step + every in ends]
    return {
        "stands still": statistics.median(run["stood"][str(step)] for step in saves),
        "costs in all": statistics.median(costs),
        "durable after": statistics.median(run["durable"][str(step)] for step in saves),
        "written": statistics.median(run["written"].get(str(step), 0) for step in saves),
        "memory": run["memory"],
        "step": calm,
    }


def one_copy() -> float:
    """Seconds to copy a worker's share, once the memory is there."""
    torch.set_num_threads(1)
    source, target = (torch.ones(STATE_BYTES // WORKERS // 4) for _ in range(2))
    took = []
    for _ in range(5):
        begin = time.perf_counter()
        target.copy_(source)
        took.append(time.perf_counter() - begin)
    return statistics.median(took)


def report(found: dict[str, list[Run]], copies: list[float], store: str) -> None:
    """Print medians over the rounds and the ratios that count."""
    print(f"\n{STATE_BYTES / 1e6:.0f} MB of state, {WORKERS} workers, {store}, {len(copies)} rounds")
    columns = ("stands still", "costs in all", "durable after", "step")
    print(f"  {'':<22}" + "".join(f"{name:>15}" for name in columns) + f"{'written':>12}{'peak memory':>14}")
    for side, runs in found.items():
        times = "".join(f"{1e3 * statistics.median(run[name] for run in runs):12.0f} ms" for name in columns)
        sizes = [statistics.median(run[name] for run in runs) / 1e6 for name in ("written", "memory")]
        print(f"  {side:<22}{times}{sizes[0]:9.0f} MB{sizes[1]:11.0f} MB")
    print(f"  {'one copy of a share':<22}{1e3 * statistics.median(copies):12.0f} ms")
    for name in columns[:3]:
        best = min(
            (side for side in PEERS if side in found),
            key=lambda side: statistics.median(run[name] for run in found[side]),
        )
        ratios = [mine[name] / theirs[name] for mine, theirs in zip(found[OURS], found[best], strict=True)]
        spread = f"({min(ratios):.2f}..{max(ratios):.2f})"
        target = f"   target {TARGET:.2f}" if name == "stands still" else ""
        print(f"  {name}: ours / {best}: {statistics.median(ratios):.2f} {spread}{target}")
    ratios = [mine["stands still"] / copy for mine, copy in zip(found[OURS], copies, strict=True)]
    print(f"  stands still / one copy: {statistics.median(ratios):.2f}   target {COPIES_TARGET}")


if __name__ == "__main__":
    main()
