"""One standby on each node that has workers, none elsewhere, and none while the job is busy with itself."""

from __future__ import annotations

from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ray.exceptions import RayError

from orchestrator.crew.standbys import FAILURES, QUIET_SECONDS, Standbys
from workers.protocol import StandsBy


@dataclass
class Actor:
    """A process on a node."""

    name: str
    node: str

    @property
    def stand_by(self) -> Actor:
        return self

    def remote(self) -> Actor:
        return self


@dataclass
class World:
    """What standbys ask for, and a clock."""

    wanted: bool = True
    now: float = 100.0
    started: int = 0
    living: dict[str, Actor] = field(default_factory=dict)
    waited_for: dict[str, Future[Any]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.standbys = Standbys(self.start, self.ask, self.kill, wanted=self.wanted, clock=lambda: self.now)

    def start(self, node: str) -> Actor:
        name = f"standby-{self.started}"
        self.started += 1
        self.living[name] = Actor(name, node)
        return self.living[name]

    def ask(self, actor: Actor) -> Future[Any]:
        self.waited_for[actor.name] = Future()
        return self.waited_for[actor.name]

    def kill(self, actor: Actor) -> None:
        self.living.pop(actor.name, None)

    def keep(self, *nodes: str) -> None:
        self.now += QUIET_SECONDS
        self.standbys.keep(nodes)

    def answer(self, name: str, error: Exception | None = None) -> list[StandsBy]:
        answer = self.waited_for.pop(name)
        answer.set_result(7) if error is None else answer.set_exception(error)
        return self.standbys.answered(answer)

    @property
    def nodes(self) -> list[str]:
        return sorted(actor.node for actor in self.living.values())


@pytest.fixture
def world() -> World:
    return World()


def test_each_node_with_workers_gets_one_and_it_is_told_when_it_is_ready(world):
    world.keep("a", "b")
    world.keep("a", "b")
    assert world.nodes == ["a", "b"]
    name = next(name for name, actor in world.living.items() if actor.node == "a")
    assert world.standbys.take("a") is None, "it is not ready"
    assert world.answer(name) == [StandsBy(node="a", pid=7)]
    assert world.standbys.take("b") is None
    assert world.standbys.take("a") is world.living[name]
    assert world.standbys.take("a") is None, "it is taken"
    world.keep("a", "b")
    assert world.nodes == ["a", "a", "b"], "the one that was taken is a worker now"


def test_a_job_whose_workers_change_is_left_alone(world):
    world.now += QUIET_SECONDS
    world.standbys.disturbed()
    world.now += QUIET_SECONDS * 0.9
    world.standbys.keep({"a"})
    assert world.nodes == []
    world.now += QUIET_SECONDS * 0.2
    world.standbys.keep({"a"})
    assert world.nodes == ["a"]


def test_a_node_without_workers_keeps_none(world):
    world.keep("a", "b")
    for name in list(world.living):
        world.answer(name)
    world.keep("b")
    assert world.nodes == ["b"]
    assert world.standbys.take("a") is None
    assert world.standbys.take(None) is None, "nobody knows where that would be"


def test_those_that_cannot_be_started_are_given_up(world):
    for number in range(FAILURES):
        world.keep("a")
        world.answer(f"standby-{number}", RayError("no room"))
        assert world.nodes == []
    world.keep("a")
    assert world.nodes == []


def test_a_success_in_between_counts(world):
    for number in range(2 * FAILURES):
        world.keep("a")
        world.answer(f"standby-{number}", RayError("no room") if number % 2 == 0 else None)
        world.standbys.take("a")
    world.keep("a")
    assert f"standby-{2 * FAILURES}" in world.living


def test_an_answer_that_is_not_about_them_means_nothing(world):
    assert world.standbys.answered(Future()) == []


def test_who_wants_none_has_none():
    world = World(wanted=False)
    world.keep("a")
    assert world.nodes == []


@settings(max_examples=100, deadline=None)
@given(st.data())
def test_whatever_happens_no_node_has_two_and_in_the_end_there_are_none(data):
    world, taken = World(), set()
    for _ in range(data.draw(st.integers(0, 30))):
        event = data.draw(st.sampled_from(["keep", "ready", "failed", "take", "disturbed", "time"]))
        waiting = sorted(name for name in world.waited_for if name in world.living)
        if event == "keep":
            world.standbys.keep(data.draw(st.sets(st.sampled_from("abc"))))
        elif event in ("ready", "failed") and waiting:
            error = RayError("no room") if event == "failed" else None
            world.answer(data.draw(st.sampled_from(waiting)), error)
        elif event == "take":
            found = world.standbys.take(data.draw(st.sampled_from("abc")))
            taken |= {found.name} if found is not None else set()
        elif event == "disturbed":
            world.standbys.disturbed()
        else:
            world.now += QUIET_SECONDS
        standing = [actor.node for name, actor in world.living.items() if name not in taken]
        assert len(standing) == len(set(standing))
    world.standbys.close()
    assert set(world.living) == taken
