"""Our side of the checkpoint benchmark: one run in processes, told as one JSON object on stdout.

python checkpoint_ours.py URI STEPS EVERY
"""

from __future__ import annotations

import json
import resource
import sys
import time
from collections import defaultdict
from pathlib import Path

from workers.checkpoint.objects import manifest_name
from workers.checkpoint.policy import Retention
from workers.processes import launch
from workers.protocol import Activity, Saved, StepDone, TrainJob
from workers.storage import Store, local_path

WORKERS = 2
SOURCE = Path(__file__).with_name("large_state.py")


def main() -> None:
    uri, steps, every = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    job = TrainJob(
        name="large", recipe="large_state:LargeState", params={},
        sources={SOURCE.name: SOURCE.read_bytes()}, source_folder=str(SOURCE.parent),
        seed=0, virtual_ranks=WORKERS, batch_size=WORKERS, steps=steps, train=None,
        checkpoint_uri=uri, checkpoint_every=every, checkpoint_keep=Retention(last=1), checkpoint_waits=True,
    )  # fmt: skip
    done: dict[str, dict[int, float]] = defaultdict(dict)
    stood: dict[str, dict[int, float]] = defaultdict(dict)
    durable, written = dict[int, float](), defaultdict[int, int](int)
    for event in launch(job, WORKERS):
        if isinstance(event, StepDone):
            done[event.worker][event.step] = event.time
            stood[event.worker][event.step] = event.clock.get(Activity.CHECKPOINT_STALL, 0.0)
        elif isinstance(event, Saved):
            written[event.step] += event.written_bytes
            durable[event.step] = max(durable.get(event.step, 0.0), event.time)
    saves = [step for step in durable if step < steps]
    ends = {step: max(times[step] for times in done.values()) for step in range(1, steps + 1)}
    print(
        json.dumps(
            {
                "ends": ends,
                "stood": {  # until the next step's end: what of that had to wait for copies is in it
                    step: max(clock[step + 1] - clock[step] for clock in stood.values()) for step in saves
                },
                "durable": {step: _committed(uri, step, durable[step]) - ends[step] for step in saves},
                "written": {step: written[step] for step in saves},
                "memory": resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024,
            }
        )
    )


def _committed(uri: str, step: int, chunks: float) -> float:
    """When the manifest was there, if it still is: only the newest checkpoint is kept."""
    if uri.startswith("file:"):
        path = local_path(uri) / manifest_name(step)
        return path.stat().st_mtime if path.exists() else chunks
    return chunks if Store(uri) else time.time()


if __name__ == "__main__":
    main()
