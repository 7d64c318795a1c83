"""What Ray says of a death, in words for people; and what a driver needs to place workers."""

from __future__ import annotations

import subprocess
import sys

import pytest

from clusters.types import Resources
from orchestrator.crew.actors import lost
from orchestrator.crew.places import bundle
from workers.protocol import Fault

KILLED = """The actor died unexpectedly before finishing this task.
\tclass_name: WorkerActor
\tactor_id: 4f7dcbeb
\tpid: 4711
The actor is dead because its worker process has died. Worker exit type: SYSTEM_ERROR Worker exit detail: \
Worker unexpectedly exits with a connection error code 2. End of file. Some common causes include: (1) the \
process was killed by SIGKILL by OOM killer due to high memory usage. (2) ray stop --force is called."""
NODE = """The actor died unexpectedly before finishing this task.
\tclass_name: WorkerActor
The actor died because its node has died. Node Id: 0123
\tthe actor's node was terminated unexpectedly: health check failed."""


def test_a_death_is_told_without_rays_advice_for_clusters_in_general():
    assert lost("w", KILLED).cause == "Worker unexpectedly exits with a connection error code 2. End of file"


def test_a_death_without_details_is_told_with_the_last_line():
    assert (
        lost("w", "The actor died.\n\n  it was killed by ray.kill.  \n").cause == "it was killed by ray.kill."
    )
    assert lost("w", "  \n").cause == "of an unknown cause"


@pytest.mark.parametrize(("text", "fault"), [(KILLED, Fault.CRASH), (NODE, Fault.NODE)])
def test_a_worker_that_went_with_its_node_is_told_from_one_that_crashed(text, fault):
    assert lost("w", text).fault is fault


WORDS = """Fatal Python error: Segmentation fault

Current thread 0x00007f0000000001 (most recent call first):
  File "/job/recipe.py", line 12 in loss
  File "/lockstep/workers/training/step.py", line 99 in _pass
"""


def test_last_words_say_more_than_ray_does():
    told = lost("w", KILLED, WORDS)
    assert told.cause == "Segmentation fault, in loss (/job/recipe.py, line 12)"
    assert told.by_itself
    assert not lost("w", KILLED).by_itself


def test_only_who_needs_a_gpu_asks_for_one():
    assert bundle(Resources(cpus=2.0)) == {"CPU": 2.0}
    assert bundle(Resources(cpus=1.0, gpus=0.5)) == {"CPU": 1.0, "GPU": 0.5}


def test_a_driver_does_not_import_torch() -> None:
    code = "import sys, orchestrator.crew.ray_crew, orchestrator.job_actor; print('torch' in sys.modules)"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "False"
