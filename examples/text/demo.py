"""The demo: prepare the text, train on it with two workers, and put the result beside a 3-gram model.

    python examples/text/demo.py [options of `lockstep run`]

What it makes lies in `demo-runs/text` and is made anew each time. Exit code: that of `lockstep run`, or 1
if the network did not beat the 3-gram model.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

HERE = Path(__file__).resolve().parent
FOLDER = HERE.parents[1] / "demo-runs" / "text"
WORKERS = 2


def main(options: list[str]) -> int:
    """Run the demo; returns the exit code."""
    begin = time.monotonic()
    shutil.rmtree(FOLDER, ignore_errors=True)
    _say("packing text into shards ...")
    subprocess.run([sys.executable, str(HERE / "prepare.py"), str(FOLDER)], check=True)
    lockstep = str(Path(sys.executable).with_name("lockstep"))
    command = [lockstep, "run", str(HERE / "job.yaml"), "--workers", str(WORKERS), *options, "--json"]
    _say(f"training: {' '.join(command)}")
    run = subprocess.run(command, stdout=subprocess.PIPE, text=True)
    if run.returncode:
        return run.returncode
    _say("fitting a 3-gram model to the same text ...")
    yardstick = trigram_bits_per_byte()
    network = json.loads(run.stdout.splitlines()[-1])["metrics"]["bits_per_byte"]
    print(verdict(network, yardstick))
    _say(f"the whole demo took {time.monotonic() - begin:.0f} s")
    return 0 if network < yardstick else 1


def trigram_bits_per_byte() -> float:
    """Bits per byte of a 3-gram model, fitted and tested on the network's own texts."""
    from corpus import text_of
    from ngram import fit

    train, held_out = (np.frombuffer(text_of(part), dtype=np.uint8) for part in ("train", "eval"))
    return fit(train).bits_per_byte(held_out)


def verdict(network: float, yardstick: float) -> str:
    """The comparison, in words; both arguments in bits per byte of held-out text."""
    better = "the network wins" if network < yardstick else "the network loses"
    return (
        "held-out text, bits per byte:\n"
        f"  network        {network:.3f}\n"
        f"  3-gram model   {yardstick:.3f}   fitted to the same training text, all of it\n"
        f"  {better}"
    )


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
