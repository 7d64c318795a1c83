"""Whoever has company on its node is watched, by one other worker there that lives."""

from __future__ import annotations

from collections import Counter
from concurrent.futures import Future
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from ray.exceptions import RayError

from orchestrator.crew.buddies import Buddies


class Handle:
    """An actor that is asked to watch."""

    def __init__(self, world: World, name: str) -> None:
        self._world, self._name = world, name

    @property
    def watch(self) -> Handle:
        return self

    def remote(self, pid: int) -> tuple[str, int]:
        return self._name, pid


class World:
    """Workers by name, their nodes, and who was asked to watch which process."""

    def __init__(self) -> None:
        self.buddies = Buddies(self.ask)
        self.nodes: dict[str, str] = {}
        self.open: dict[Future[Any], tuple[str, str]] = {}  # by whom, whom

    def ask(self, asked: tuple[str, int]) -> Future[Any]:
        answer: Future[Any] = Future()
        self.open[answer] = (asked[0], f"w{asked[1]}")
        return answer

    def join(self, number: int, node: str) -> None:
        name = f"w{number}"
        self.nodes[name] = node
        self.buddies.joined(name, node, number, Handle(self, name))

    def leave(self, name: str) -> None:
        del self.nodes[name]
        self.buddies.left(name)

    def die(self, name: str) -> list[str]:
        """What the answers say: of its watcher that it is dying, of those that it watched that it cannot."""
        told = []
        for answer, (by, whom) in list(self.open.items()):
            if name not in (by, whom):
                continue
            del self.open[answer]
            answer.set_result("") if whom == name else answer.set_exception(RayError("dead"))
            told += [found.worker for found in [self.buddies.answered(answer)] if found is not None]
        self.leave(name)
        return told

    def watched(self) -> list[str]:
        """Living workers that a living one on their node was asked to watch."""
        return sorted(
            whom
            for by, whom in self.open.values()
            if by in self.nodes and whom in self.nodes and by != whom and self.nodes[by] == self.nodes[whom]
        )

    def in_company(self) -> list[str]:
        crowds = Counter(self.nodes.values())
        return sorted(name for name, node in self.nodes.items() if crowds[node] > 1)


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_whoever_has_company_is_watched_once_and_its_death_is_told(data):
    world, number = World(), 0
    for _ in range(data.draw(st.integers(1, 25))):
        action = data.draw(st.sampled_from(["join", "join", "leave", "die"]))
        if action == "join":
            world.join(number, data.draw(st.sampled_from("ab")))
            number += 1
        elif world.nodes:
            name = data.draw(st.sampled_from(sorted(world.nodes)))
            alone = name not in world.in_company()
            if action == "leave":
                world.leave(name)
            else:
                assert world.die(name) == ([] if alone else [name])
        assert world.watched() == world.in_company()


def test_the_burden_is_shared():
    world = World()
    for number in range(8):
        world.join(number, "a")
    assert max(Counter(by for by, _ in world.open.values()).values()) <= 2


def test_who_cannot_be_watched_is_not_asked_for_again():
    world = World()
    world.join(0, "a")
    world.join(1, "a")
    answer = next(answer for answer, (_, whom) in world.open.items() if whom == "w0")
    answer.set_result(None)
    assert world.buddies.answered(answer) is None
    del world.open[answer]
    world.join(2, "a")
    assert world.watched() == ["w1", "w2"]


def test_an_answer_that_is_not_about_them_means_nothing():
    assert World().buddies.answered(Future()) is None
