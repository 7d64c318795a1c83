"""`python -m tests.fire`: run seeds until one fails, or all have passed."""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from tests.fire.run import run
from tests.fire.script import STEPS, Script, draw
from tests.support.bits_jobs import bits_job
from tests.support.supervised import Seen, load

PAUSE = 0.002


def prepare(folder: Path) -> Path:
    """Write the job that is to burn."""
    job = bits_job(folder)
    job.change(
        stop={"steps": STEPS},
        checkpoint={"uri": "runs", "every": 35, "if_busy": "wait"},
        params={"pause": PAUSE},
        evaluate={"every": 50},
    )
    return folder


def undisturbed(folder: Path) -> Seen:
    """The same job with one worker, and nothing happening to it."""
    seen = run(load(folder, (folder / "calm").as_uri()), Script(seed=0, workers=1, happenings=()))
    if seen.outcome is None or not seen.outcome.done or sorted(seen.steps) != [*range(1, STEPS + 1)]:
        raise SystemExit(f"the undisturbed run failed: {seen.outcome}")
    return seen


def problems(calm: Seen, burnt: Seen) -> list[str]:
    """In what a run differs from the undisturbed one."""
    found = list(burnt.disagreements)
    if burnt.outcome is None or not burnt.outcome.done:
        found.append(f"the job ended with {burnt.outcome}")
    if burnt.digest != calm.digest:
        found.append(f"the state digest is {burnt.digest}, undisturbed {calm.digest}")
    if burnt.steps != calm.steps:
        wrong = [step for step in calm.steps if burnt.steps.get(step) != calm.steps[step]]
        found.append(f"what was logged of steps {wrong[:5]} differs or is missing")
    if burnt.evaluations != calm.evaluations:
        found.append(f"evaluations differ: {burnt.evaluations}, undisturbed {calm.evaluations}")
    return found


def burn(folder: Path, calm: Seen, seed: int) -> tuple[Seen, list[str]]:
    """Run one seed in a folder of its own."""
    burnt = run(load(folder, (folder / f"seed-{seed}").as_uri()), draw(seed))
    return burnt, problems(calm, burnt)


def main() -> int:
    """Exit code 1 if a seed failed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=50, help="how many")
    parser.add_argument("--seed", type=int, help="only this one")
    parser.add_argument("--begin", type=int, default=0, help="the first one")
    options = parser.parse_args()
    seeds = range(options.begin, options.begin + options.seeds)
    seeds = seeds if options.seed is None else range(options.seed, options.seed + 1)
    tally: Counter[str] = Counter()
    with tempfile.TemporaryDirectory() as temporary:
        folder = prepare(Path(temporary) / "job")
        calm = undisturbed(folder)
        for seed in seeds:
            begin = time.monotonic()
            burnt, wrong = burn(folder, calm, seed)
            tally.update(happening.kind.value for happening in draw(seed).happenings)
            tally["generations"] += burnt.generations
            took, verdict = time.monotonic() - begin, "FAILED" if wrong else "same bits"
            print(f"seed {seed}: {verdict}, {burnt.generations} generations, {took:.0f} s", flush=True)
            if wrong:
                print("\n".join([*map(str, draw(seed).happenings), *burnt.story, *wrong]))
                print(f"repeat it with: python -m tests.fire --seed {seed}")
                return 1
    print(f"{len(seeds)} runs of {STEPS} steps, all with the digest {calm.digest}:")
    for name, count in tally.most_common():
        print(f"  {count:5}  {name}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
