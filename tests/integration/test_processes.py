"""The plain launcher ends when a worker does, and its workers end with it."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
from collections import deque
from pathlib import Path

import pytest

from tests.support.events import train_job
from workers.numerics.randomness import derive
from workers.processes import JobFailed, launch
from workers.protocol import TrainJob

RECIPE = b"""
import os
import torch
from workers import Recipe

class Toy(Recipe):
    how = ""

    def build_model(self):
        return torch.nn.Linear(1, 1)

    def build_optimizer(self, model):
        return torch.optim.SGD(model.parameters())

    def loss(self, model, batch):
        if batch["step"] == 2 and batch["seed"] == self.seed:
            if self.how == "die":
                os._exit(9)
            if self.how == "raise":
                raise KeyError("broken")
        return model(torch.ones(batch["size"], 1)).mean()
"""


def toy(how: str, **changes: object) -> TrainJob:
    params = {"how": how, "seed": derive("batch", 0, 2, 5)}  # in step 2, whoever hosts virtual rank 5
    sources = {"toy_recipe.py": RECIPE}
    return train_job(recipe="toy_recipe:Toy", params=params, sources=sources, source_folder=None, **changes)


@pytest.mark.parametrize(
    ("how", "words"),
    [("die", r"^worker-\d died: exit code 9$"), ("raise", r"in loss\n.*\n *KeyError: 'broken'\n")],
)
def test_a_worker_that_breaks_down_is_the_cause_and_not_those_that_miss_it(how, words):
    with pytest.raises(JobFailed, match=words):
        deque(launch(toy(how, steps=1000), workers=3), maxlen=0)


PARENT = """
import sys
from tests.integration import test_processes as tests
from workers.processes import launch
from workers.protocol import Ready

if __name__ == "__main__":
    for event in launch(tests.toy("", steps=10**9), workers=2):
        if isinstance(event, Ready):
            print(event.pid, flush=True)
"""


@pytest.mark.skipif(not hasattr(os, "pidfd_open"), reason="waits for processes that are not its children")
def test_workers_end_with_their_parent_however_it_ends(tmp_path):
    (tmp_path / "parent.py").write_text(PARENT)
    command, root = [sys.executable, tmp_path / "parent.py"], Path(__file__).parents[2]
    environment = {**os.environ, "PYTHONPATH": str(root)}
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        workers = [os.pidfd_open(int(parent.stdout.readline())) for _ in range(2)]
        parent.send_signal(signal.SIGKILL)
        for worker in workers:
            ended, _, _ = select.select([worker], [], [], 30)
            assert ended, "a worker outlived its parent"
            os.close(worker)
