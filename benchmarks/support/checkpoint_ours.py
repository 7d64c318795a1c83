"""Our side of the checkpoint benchmark: one run in processes, told as one JSON object on stdout.

python checkpoint_ours.py URI STEPS EVERY
"""

from __future__ import annotations

import json
import re
import sys
import time
from collections import defaultdict
from contextlib import suppress
from pathlib import Path
from typing import Any

from workers.checkpoint import committer
from workers.checkpoint.manifest import Manifest
from workers.checkpoint.policy import Retention
from workers.processes import ProcessCrew, launch
from workers.protocol import Activity, Saved, StepDone, TrainJob

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
    durable, written = _note_commits(), defaultdict[int, int](int)
    crew = ProcessCrew(job)
    memory = 0
    for event in launch(job, WORKERS, crew=crew):
        if isinstance(event, StepDone):
            memory = max(memory, _peak_memory(crew.pid(event.worker)))
            done[event.worker][event.step] = event.time
            stood[event.worker][event.step] = event.clock.get(Activity.CHECKPOINT_STALL, 0.0)
        elif isinstance(event, Saved):
            written[event.step] += event.written_bytes
    saves = [step for step in durable if step < steps]
    ends = {step: max(times[step] for times in done.values()) for step in range(1, steps + 1)}
    print(
        json.dumps(
            {
                "ends": ends,
                "stood": {  # until the next step's end: what of that had to wait for copies is in it
                    step: max(clock[step + 1] - clock[step] for clock in stood.values()) for step in saves
                },
                "durable": {step: durable[step] - ends[step] for step in saves},
                "written": {step: written[step] for step in saves},
                "memory": memory,
            }
        )
    )


def _note_commits() -> dict[int, float]:
    """When the manifest of each step was there; filled from now on."""
    found: dict[int, float] = {}
    commit = committer.commit

    def noted(*arguments: Any, **named: Any) -> Manifest:
        manifest = commit(*arguments, **named)
        found[manifest.step] = time.time()
        return manifest

    committer.commit = noted  # type: ignore[attr-defined]
    return found


def _peak_memory(pid: int) -> int:
    """Bytes; 0 of a process that has ended."""
    with suppress(OSError):
        found = re.search(r"VmHWM:\s*(\d+) kB", Path(f"/proc/{pid}/status").read_text())
        return int(found[1]) * 1024 if found else 0
    return 0


if __name__ == "__main__":
    main()
