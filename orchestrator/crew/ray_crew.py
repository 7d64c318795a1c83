"""A job's workers: placed, heard, told and ended, as Ray does these things."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable, Mapping, Sequence
from concurrent.futures import Future, wait
from contextlib import suppress
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from typing import Any

import ray
from ray.exceptions import ActorUnavailableError, RayActorError, RayError

from clusters.types import Resources
from orchestrator.crew.actors import Actors, end_with_stacks, lost
from orchestrator.crew.buddies import Buddies
from orchestrator.crew.dying import Dying
from orchestrator.crew.lifelines import Lifelines
from orchestrator.crew.places import Places, Slot
from orchestrator.crew.standbys import Standbys
from workers.protocol import (
    Beat,
    Event,
    Memory,
    News,
    Order,
    Placed,
    Ready,
    Stacks,
    TrainJob,
    Vanished,
)

#: How often a worker that has nothing to tell says that it is alive.
_BEAT_SECONDS = 0.25
#: How long Ray may take to say why a worker is gone whose connection has closed; then that is seen to.
_WHY_SECONDS = 2.0

_Answer = Future[Any]


@dataclass
class _Actor:
    """One worker."""

    handle: Any
    slot: Slot | None  # None for one that was adopted, until it has said which it has
    heard: int = 0  # the number of the last event
    pid: int | None = None
    node: str | None = None
    ready: bool = False
    words: str = ""  # its last ones


class RayCrew:
    """The workers of one job.

    Args:
        job: what to train.
        each: the resources of one worker.
        run: tells this run's actors from those of other runs of the job.
        namespace: Ray's name space for them.
        standby: keep a process ready on each node that has some of them.
    """

    def __init__(self, job: TrainJob, each: Resources, run: str, namespace: str, *, standby: bool) -> None:
        self._started = Actors(job, each, run, namespace)
        self._actors: dict[str, _Actor] = {}
        self._places = Places(each, f"{run}/")
        # What Ray was asked for. Answers, and workers whose connection closed, arrive in a queue.
        self._placing: dict[_Answer, tuple[Any, tuple[str, ...]]] = {}  # a group, and who goes there
        self._polls: dict[_Answer, str] = {}
        self._asked: dict[_Answer, str] = {}  # who was asked where it is
        self._ending: dict[_Answer, str] = {}  # whose stacks are on their way
        self._arrived: SimpleQueue[_Answer | Dying] = SimpleQueue()
        self._lifelines = Lifelines(self._arrived.put)
        self._buddies = Buddies(self._ask)
        self._own_node = ray.get_runtime_context().get_node_id()
        self._standbys = Standbys(self._started.start_standby, self._ask, ray.kill, wanted=standby)
        self._news: list[News] = []
        self._again: dict[str, float] = {}  # out of reach at the moment: when to poll again
        self._unexplained: dict[str, float] = {}  # gone, but Ray does not say so: until when to wait

    def hire(self, workers: Sequence[str], avoid: Collection[str] = (), nodes: Sequence[str] = ()) -> None:
        """See `orchestrator.supervisor.Crew.hire`."""
        waiting: list[str] = []
        wanted = dict(zip(workers, nodes, strict=True)) if nodes else {}
        for worker in workers:
            slot = self._places.take(avoid, wanted.get(worker))
            if slot is None:
                waiting.append(worker)
            else:
                self._news.append(Placed(workers=(worker,)))
                self._fill(slot, worker)
        for group, share in self._places.reserve(waiting, avoid, wanted):
            self._placing[self._ask(group.ready())] = (group, share)

    def limit(self, places: Mapping[str, int]) -> None:
        """From now on no more room than this is kept on each node, once its workers are gone."""
        self._places.limit(places)

    def held(self) -> dict[str, int]:
        """For how many workers there is room on each node, or will be, as far as that was said. From any
        thread."""
        return self._places.held()

    def tell(self, worker: str, order: Order) -> None:
        """See `orchestrator.supervisor.Crew.tell`."""
        if worker in self._actors:
            self._actors[worker].handle.tell.remote(order)

    def hear(self, timeout: float) -> list[News]:
        """See `orchestrator.supervisor.Crew.hear`."""
        for worker in _due(self._again):
            self._poll(worker)
        for worker in _due(self._unexplained):
            ray.kill(self._actors[worker].handle)
        if not all(actor.ready for actor in self._actors.values()):
            self._standbys.disturbed()
        self._standbys.keep({actor.node for actor in self._actors.values() if actor.node is not None})
        with suppress(Empty):
            self._take(self._arrived.get(timeout=0 if self._news else timeout))
            while True:
                self._take(self._arrived.get_nowait())
        news, self._news = self._news, []
        return news

    def dismiss(self, worker: str, *, stacks: bool = False) -> None:
        """See `orchestrator.supervisor.Crew.dismiss`."""
        for ref, (group, workers) in list(self._placing.items()):
            if worker in workers:
                left = tuple(other for other in workers if other != worker)
                self._placing[ref] = (group, left)
                if not left and self._places.drop(group):
                    del self._placing[ref]
        actor = self._actors.get(worker)
        if actor is None:
            return
        if stacks and actor.pid is not None and actor.node is not None:
            self._ending[self._ask(end_with_stacks(actor.pid, actor.node))] = worker
        else:
            ray.kill(actor.handle)
        self._forget(worker)

    def close(self) -> None:
        """End all workers and give their room back."""
        for worker in list(self._actors):
            self.dismiss(worker)
        self._lifelines.close()
        self._standbys.close()
        wait(self._ending, timeout=1)  # they are the last to go
        self._places.close()

    def nodes(self) -> dict[str, str]:
        """Nodes of the cluster that are alive: id → name."""
        return {node["NodeID"]: node["NodeManagerHostname"] for node in ray.nodes() if node["Alive"]}

    def adopt(self) -> list[Memory]:
        """Take over the workers of a supervisor that died; those that do not answer are ended."""
        memories: list[Memory] = []
        for handle, memory in self._started.remembered():
            memories.append(memory)
            self._actors[memory.worker] = _Actor(handle=handle, slot=None, heard=memory.position)
            self._begin_to_hear(memory.worker)
            self._look_after(memory.worker, memory.events)
        self._places.adopt()
        return memories

    def _fill(self, slot: Slot, worker: str) -> None:
        """Have a worker in a slot: whoever stands by on its node, else a new process."""
        handle = self._standbys.take(slot.node)
        if handle is None:
            self._start(worker, slot)
        else:
            handle.become.remote(worker, slot.gpus, slot.name)
            self._begin(worker, _Actor(handle=handle, slot=slot))

    def _start(self, worker: str, slot: Slot) -> None:
        self._begin(worker, _Actor(handle=self._started.start(worker, slot), slot=slot))

    def _begin(self, worker: str, actor: _Actor) -> None:
        self._actors[worker] = actor
        self._begin_to_hear(worker)
        self._standbys.disturbed()

    def _forget(self, worker: str) -> None:
        actor = self._actors.pop(worker)
        self._lifelines.forget(worker)
        self._buddies.left(worker)
        self._again.pop(worker, None)
        self._unexplained.pop(worker, None)
        for answers in (self._polls, self._asked):
            for answer in [answer for answer, other in answers.items() if other == worker]:
                del answers[answer]
        if actor.slot is not None:
            self._places.give_back(actor.slot)
        self._standbys.disturbed()

    # --- hearing ---

    def _ask(self, ref: Any) -> _Answer:
        answer: _Answer = ref.future()
        answer.add_done_callback(self._arrived.put)
        return answer

    def _begin_to_hear(self, worker: str) -> None:
        self._asked[self._ask(self._actors[worker].handle.where.remote())] = worker
        self._poll(worker)

    def _poll(self, worker: str) -> None:
        actor = self._actors[worker]
        self._polls[self._ask(actor.handle.poll.remote(actor.heard, _BEAT_SECONDS))] = worker

    def _look_after(self, worker: str, events: Iterable[Event]) -> None:
        """From when it is ready on: before, nobody waits for it."""
        for event in events:
            if isinstance(event, Ready):
                self._lifelines.watch(worker, event.store)
                if event.node_id == self._own_node:
                    self._lifelines.watch_here(worker, event.pid)
                else:
                    handle = self._actors[worker].handle
                    self._buddies.joined(worker, event.node_id, event.pid, handle)
                self._actors[worker].ready = True
                self._standbys.disturbed()

    def _take(self, arrived: _Answer | Dying) -> None:
        """An answer, which nobody may want any more; or a worker whose connection closed."""
        if isinstance(arrived, Dying):
            self._vanished(arrived)
        elif arrived in self._polls:
            self._take_poll(self._polls.pop(arrived), arrived)
        elif arrived in self._placing:
            group, workers = self._placing.pop(arrived)
            if workers:
                self._news.append(Placed(workers=workers))
            slots = self._places.slots(group)
            for worker in workers:
                self._start(worker, slots.pop(0))
            for slot in slots:
                self._places.give_back(slot)
        elif arrived in self._asked:
            actor = self._actors[self._asked.pop(arrived)]
            with suppress(RayError):  # its poll says the same
                actor.pid, actor.node, gpus, name = arrived.result()
                if actor.slot is None:
                    actor.slot = self._places.claim(name)
                if actor.slot is not None and actor.slot.gpus is None:
                    actor.slot.node, actor.slot.gpus = actor.node, gpus
            if not self._asked:
                self._places.drop_unclaimed()
        elif arrived in self._ending:
            with suppress(RayError):  # its node is gone too
                self._news.append(Stacks(worker=self._ending.pop(arrived), text=arrived.result()))
        elif (dying := self._buddies.answered(arrived)) is not None:
            self._vanished(dying)
        else:
            self._news += self._standbys.answered(arrived)

    def _vanished(self, dying: Dying) -> None:
        worker = dying.worker
        if worker not in self._actors:
            return
        if dying.words:
            self._actors[worker].words = dying.words
            self._news.append(Stacks(worker=worker, text=dying.words))
        if worker not in self._unexplained:
            self._news.append(Vanished(worker=worker))
            self._unexplained[worker] = time.monotonic() + _WHY_SECONDS

    def _take_poll(self, worker: str, answer: _Answer) -> None:
        try:
            numbered, pulse = answer.result()
        except ActorUnavailableError:
            self._again[worker] = time.monotonic() + _BEAT_SECONDS
            return
        except RayActorError as error:
            self._news.append(lost(worker, str(error), self._actors[worker].words))
            self._forget(worker)
            return
        if numbered:
            self._actors[worker].heard = numbered[-1][0]
        self._poll(worker)
        events = [event for _, event in numbered]
        self._look_after(worker, events)
        self._news += events
        self._news.append(Beat(worker=worker, pulse=pulse))


def _due(times: dict[str, float]) -> list[str]:
    """Take out whose time has come."""
    now = time.monotonic()
    found = [worker for worker, due in times.items() if due <= now]
    for worker in found:
        del times[worker]
    return found
