"""A standby has built all that it can, is nobody until it gets a name, and then is that worker."""

from __future__ import annotations

from dataclasses import replace
from typing import TypeVar

import pytest
import torch

from tests.support.events import train_job
from workers.protocol import Activity, Event, Failed, Fault, Finished, Formed, Membership, Ready, TrainJob
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


E = TypeVar("E", bound=Event)


def _next(worker: Worker, kind: type[E]) -> E:
    """The first event of a kind; none of a failure before it."""
    read = 0
    while True:
        for number, event in worker.outbox.read(read, timeout=30.0):
            read = number
            assert not isinstance(event, Failed), event
            if isinstance(event, kind):
                return event


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


def test_one_that_is_left_out_of_a_generation_waits_for_one_that_needs_it():
    alone = worker("worker-0")
    ready = _next(alone, Ready)
    others = Membership(generation=3, workers=("worker-1",), hosted=(tuple(range(8)),), store="nowhere:1")
    alone.tell(others)
    alone.tell(replace(others, generation=4, workers=("worker-0",), store=ready.store))
    assert _next(alone, Formed).generation == 4
    assert _next(alone, Finished).step == 3
