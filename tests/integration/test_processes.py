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

from tests.support.datasets import number_set
from tests.support.events import train_job
from workers.numerics.randomness import derive
from workers.processes import JobFailed, launch
from workers.protocol import DataMixture, DataSource, Finished, TrainJob

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


MIXED = b"""
import torch
from workers import Recipe

class Net(Recipe):
    def build_model(self):
        return torch.nn.Sequential(torch.nn.Linear(2, 8), torch.nn.Dropout(0.2), torch.nn.Linear(8, 1))

    def build_optimizer(self, model):
        return torch.optim.AdamW(model.parameters(), lr=0.01)

    def decode(self, sample, rng):
        return torch.tensor([sample["number"] / 1000, rng.random()], dtype=torch.float32)

    def loss(self, model, batch):
        return (model(batch) - batch[:, :1]).square().mean()
"""


def test_a_mixture_trains_to_the_same_bits_on_one_and_on_three_processes(tmp_path):
    sets = [number_set(tmp_path / f"{rows}", rows, first=1000 * rows) for rows in (50, 7)]
    sources = tuple(
        DataSource(uri=one.store.uri, manifest_digest=one.manifest.digest, rows=one.rows, window_blocks=2)
        for one in sets
    )
    job = train_job(
        recipe="mixed_recipe:Net",
        sources={"mixed_recipe.py": MIXED},
        source_folder=None,
        train=DataMixture(sources=sources, weights=(3, 2), epoch_end="last"),
        batch_size=16,
        steps=20,
    )
    ends = [
        {event.state_digest for event in launch(job, workers) if isinstance(event, Finished)} - {None}
        for workers in (1, 3)
    ]
    assert ends[0] == ends[1]
    assert len(ends[0]) == 1


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
