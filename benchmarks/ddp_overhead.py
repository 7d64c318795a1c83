"""Steps per second against plain PyTorch DDP under torchrun: what the promise costs.

    python benchmarks/ddp_overhead.py [--rounds 5] [--seconds 6]

Both sides train the same recipe with W = 2 workers of one thread: ours streams its data and reports every
step, the peer has all batches in memory. They run alternately; medians and the median of the rounds' ratios
are printed. `V` is ours; the peer accumulates as many micro-batches (`peer, same micro-batches`), or takes
its share of the batch in one pass (`peer, one pass`), which no job with more virtual ranks than workers
can.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from orchestrator.spec import load_job
from workers.data.dataset import Dataset
from workers.processes import launch
from workers.protocol import DataSource, Numerics, StepDone, TrainJob

ROOT = Path(__file__).parents[1]
PEER = ROOT / "benchmarks/support/torchrun_ddp.py"
WORKERS = 2
SKIPPED = 40  # steps before the clock starts: ours fetches the demo's 150 blocks in them, once


@dataclass(frozen=True, kw_only=True)
class Case:
    """One model at one number of virtual ranks."""

    name: str
    folder: Path
    recipe: str
    params: dict
    batch: int
    virtual_ranks: int


def ours(case: Case, uri: str, steps: int, numerics: Numerics) -> float:
    """Steps per second of our engine, from the first worker's reports."""
    dataset = Dataset.open(uri)
    module = case.recipe.partition(":")[0]
    job = TrainJob(
        name="overhead", recipe=case.recipe, params=case.params,
        sources={f"{module}.py": (case.folder / f"{module}.py").read_bytes()}, source_folder=str(case.folder),
        seed=0, virtual_ranks=case.virtual_ranks, batch_size=case.batch, steps=steps,
        train=DataSource(uri=uri, manifest_digest=dataset.manifest.digest, rows=dataset.rows),
        max_grad_norm=1.0, numerics=numerics,
    )  # fmt: skip
    times = [e.time for e in launch(job, WORKERS) if isinstance(e, StepDone) and e.worker == "worker-0"]
    return (len(times) - SKIPPED) / (times[-1] - times[SKIPPED - 1])


def peer(case: Case, uri: str, steps: int, micro_batches: int) -> float:
    """Steps per second of the peer."""
    command = [
        sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(WORKERS),
        str(PEER), str(case.folder), case.recipe, json.dumps(case.params), uri, str(case.batch),
        str(micro_batches), str(steps),
    ]  # fmt: skip
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
    if done.returncode:
        raise SystemExit(f"the peer failed:\n{done.stderr}")
    return json.loads(done.stdout.splitlines()[-1])["steps_per_second"]


def cases() -> list[Case]:
    """The demo's model and the transformer, each at its natural V and at one virtual rank a worker."""
    folder = ROOT / "examples/text"
    demo = load_job(folder / "job.yaml")
    text = {"folder": folder, "recipe": demo.recipe, "params": demo.params, "batch": demo.batch.size}
    large = {
        "folder": ROOT / "benchmarks/support", "recipe": "transformer:Transformer", "params": {}, "batch": 16,
    }  # fmt: skip
    return [
        Case(name=name, virtual_ranks=V, **model)
        for name, model in (("demo", text), ("transformer 5M", large))
        for V in (WORKERS, demo.batch.virtual_ranks)
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=6, help="of training in each measurement")
    parser.add_argument("--only", default="", help="cases whose name contains this")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run([sys.executable, str(ROOT / "examples/text/prepare.py"), folder], check=True)
        for case in cases():
            if options.only in case.name:
                measure(case, f"file://{folder}/train", options.rounds, options.seconds)


def measure(case: Case, uri: str, rounds: int, seconds: float) -> None:
    """Run all sides alternately and print their medians and ratios."""
    accumulated = case.virtual_ranks // WORKERS
    steps = SKIPPED + max(20, round(seconds * peer(case, uri, SKIPPED + 40, accumulated)))
    sides = {
        "elastic": lambda: ours(case, uri, steps, Numerics.ELASTIC),
        "peer, same micro-batches": lambda: peer(case, uri, steps, accumulated),
        "fast": lambda: ours(case, uri, steps, Numerics.FAST),
        "peer, one pass": lambda: peer(case, uri, steps, 1),
    }
    found = {name: [] for name in sides}
    for number in range(rounds):
        order = list(sides) if number % 2 == 0 else list(sides)[::-1]
        for name in order:
            found[name].append(sides[name]())
    print(f"\n{case.name}, V = {case.virtual_ranks}, batch {case.batch}: {steps} steps, {rounds} rounds")
    for name, rates in found.items():
        print(f"  {name:<26}{statistics.median(rates):8.2f} steps/s")
    for side in ("elastic", "fast"):
        for other in ("peer, same micro-batches", "peer, one pass"):
            ratios = [a / b for a, b in zip(found[side], found[other], strict=True)]
            spread = f"({min(ratios):.3f}..{max(ratios):.3f})"
            print(f"  {side} / {other:<26}{statistics.median(ratios):6.3f}   {spread}")


if __name__ == "__main__":
    main()
