"""Our side of the restore benchmark: prints one JSON object.

python restore_ours.py URI WORKERS          # train one step, and save it
python restore_ours.py URI WORKERS resume   # seconds from all workers' being ready to their holding the state
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from workers.processes import ProcessCrew, launch
from workers.protocol import Formed, Ready, TrainJob

SOURCE = Path(__file__).with_name("large_state.py")


def main() -> None:
    uri, workers, resumes = sys.argv[1], int(sys.argv[2]), sys.argv[3:] == ["resume"]
    job = TrainJob(
        name="large", recipe="large_state:LargeState", params={},
        sources={SOURCE.name: SOURCE.read_bytes()}, source_folder=str(SOURCE.parent),
        seed=0, virtual_ranks=4, batch_size=4, steps=2 if resumes else 1, train=None,
        checkpoint_uri=uri, checkpoint_every=1,
    )  # fmt: skip
    ready, formed = [], []
    for event in launch(job, workers, resume_step=1 if resumes else None, crew=ProcessCrew(job)):
        if isinstance(event, Ready):
            ready.append(event.time)
        elif isinstance(event, Formed):
            assert event.restored == resumes
            formed.append(event.time)
            if resumes and len(formed) == workers:
                break
    print(json.dumps({"seconds": max(formed) - max(ready)}))


if __name__ == "__main__":
    main()
