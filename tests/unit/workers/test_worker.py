"""A standby has built all that it can, is nobody until it gets a name, and then is that worker."""

from __future__ import annotations

import pytest
import torch

from tests.support.events import train_job
from workers.protocol import Activity, Failed, Fault, Ready, TrainJob
from workers.worker import Worker

RECIPE = """
import torch
from workers import Recipe

class Line(Recipe):
    broken: bool = False

    def build_model(self):
        if self.broken:
            raise ZeroDivisionError("no model today")
        return torch.nn.Linear(1, 1)

    def build_optimizer(self, model):
        return torch.optim.SGD(model.parameters(), lr=0.1)

    def loss(self, model, batch):
        return model(torch.ones(batch["size"], 1)).mean()
"""


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> None:
    """What workers here set holds for all new threads of this process, but not for the one
    that runs the tests, and others compare bits between those."""
    torch.set_num_threads(1)


def job(**params: object) -> TrainJob:
    return train_job(
        recipe="line:Line", sources={"line.py": RECIPE.encode()}, params=params, train=None, steps=3
    )


def worker(name: str | None, **params: object) -> Worker:
    found = Worker(name, job(**params), node="n", node_id="n", host="127.0.0.1", startup={"imports": 2.0})
    found.start()
    return found


def test_a_standby_is_that_worker_from_when_it_gets_a_name():
    standby = worker(None)
    standby.wait_built()
    assert standby.remember() is None
    assert standby.outbox.read(0, timeout=0.0) == []
    standby.become("worker-7")
    ((_, event),) = standby.outbox.read(0, timeout=30.0)
    assert isinstance(event, Ready)
    assert event.worker == "worker-7"
    assert event.startup == {}, "nobody waited for its start"
    assert sum(event.clock.values()) < 2.0, "nor for what came before"
    memory = standby.remember()
    assert memory is not None
    assert memory.worker == "worker-7"


def test_a_worker_that_has_a_name_tells_how_long_its_start_took():
    ((_, event),) = worker("worker-0").outbox.read(0, timeout=30.0)
    assert isinstance(event, Ready)
    assert {"imports", "recipe", "model", "data", "warm-up"} == event.startup.keys()
    assert event.clock.keys() == {Activity.STARTUP}


def test_a_standby_that_cannot_be_built_says_so_to_whoever_waits_for_it():
    standby = worker(None, broken=True)
    with pytest.raises(ZeroDivisionError, match="no model today"):
        standby.wait_built()
    standby.become("worker-7")
    ((_, event),) = standby.outbox.read(0, timeout=30.0)
    assert isinstance(event, Failed)
    assert (event.worker, event.fault) == ("worker-7", Fault.USER)
