"""`python -m tests.kills`: live cases until one fails, or all have passed."""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.kills.case import draw
from tests.kills.run import survive, undisturbed
from tests.support.s3 import s3_server


@contextmanager
def place(folder: Path, *, s3: bool) -> Iterator[str]:
    """Where checkpoints go."""
    if not s3:
        yield folder.as_uri()
        return
    with s3_server(folder / "s3") as server:
        os.environ.update(server.environment())
        yield f"s3://{server.make_bucket()}"


def main() -> int:
    """Exit code 1 if a case failed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=200, help="how many")
    parser.add_argument("--seed", type=int, help="only this one")
    parser.add_argument("--begin", type=int, default=0, help="the first one")
    parser.add_argument("--s3", action="store_true", help="in Ceph's S3 gateway instead of a local folder")
    options = parser.parse_args()
    seeds = range(options.begin, options.begin + options.seeds)
    seeds = seeds if options.seed is None else range(options.seed, options.seed + 1)
    tally: Counter[str] = Counter()
    with tempfile.TemporaryDirectory() as temporary, place(Path(temporary), s3=options.s3) as uri:
        calm = undisturbed(f"{uri}/calm")
        for seed in seeds:
            begin, case = time.monotonic(), draw(seed)
            folder = Path(temporary) / f"case-{seed}"
            folder.mkdir()
            found = survive(case, f"{uri}/seed-{seed}", folder, calm)
            tally[f"{found.died.split()[0]} {found.died.split()[1]}" if found.died else "nobody died"] += 1
            verdict = "FAILED" if found.problems else "well"
            took = time.monotonic() - begin
            print(f"seed {seed}: {verdict}, {found.died or 'nobody died'}, {took:.1f} s", flush=True)
            if found.problems:
                print("\n".join([str(case), *found.story, *found.problems]))
                print(f"repeat it with: python -m tests.kills --seed {seed}{' --s3' if options.s3 else ''}")
                return 1
    print(f"{len(seeds)} cases, all with the digest {calm.digest}; died at:")
    for name, count in tally.most_common():
        print(f"  {count:5}  {name}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
