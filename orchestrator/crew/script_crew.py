"""The ranks of a script job: placed, heard, told and ended, as Ray does these things."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass, field
from queue import Empty, SimpleQueue
from typing import Any

import ray
from ray.exceptions import ActorUnavailableError, RayActorError, RayError
from ray.util.placement_group import placement_group, remove_placement_group
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy, PlacementGroupSchedulingStrategy

from clusters.types import Resources
from orchestrator.crew.actors import lost
from orchestrator.crew.places import bundle as resources_of
from orchestrator.scripts.job import ScriptJob
from workers.script.actor import Post, ScriptActor, remove_folder
from workers.script.protocol import Gone, Launch, Placed, Recollection, ScriptNews, Up

_POLL_SECONDS = 1.0
#: Calls that a rank's actor serves at once: one poll, and orders beside it.
_CONCURRENCY = 4
_ADOPT_SECONDS = 3.0
_CLEAN_SECONDS = 5.0
_AGAIN_SECONDS = 0.25

_Answer = Future[Any]


@dataclass
class _Attempt:
    """A placement group, and who is in it; by rank."""

    group: Any
    ranks: int
    places: Mapping[str, int] | None
    handles: list[Any] = field(default_factory=list)
    heard: list[int] = field(default_factory=list)


class RayScriptCrew:
    """The ranks of one job. Placement groups and actors are detached: they outlive a supervisor.

    Args:
        job: what to run.
        namespace: Ray's name space for its actors.
        sha256: of the job's folder, packed; None if it has none.
        archive: the packed folder.
    """

    def __init__(
        self, job: ScriptJob, namespace: str, sha256: str | None, archive: bytes | memoryview | None
    ) -> None:
        self._job, self._namespace, self._sha256 = job, namespace, sha256
        self._bundle = (ray.put(bytes(archive)),) if archive is not None else ()
        self._attempts: dict[int, _Attempt] = {}
        self._seen: set[str] = set()  # nodes that have a folder of the job
        self._placing: dict[_Answer, int] = {}
        self._polls: dict[_Answer, tuple[int, int]] = {}
        self._again: list[tuple[float, int, int]] = []
        self._arrived: SimpleQueue[_Answer] = SimpleQueue()
        self._news: list[ScriptNews] = []

    def hire(
        self, attempt: int, ranks: int, places: Mapping[str, int] | None, avoid: Collection[str]
    ) -> None:
        """See `orchestrator.scripts.supervisor.Crew.hire`."""
        selector = None
        if places is not None:
            selector = [{"ray.io/node-id": node} for node in sorted(places) for _ in range(places[node])]
        elif avoid:
            selector = [{"ray.io/node-id": f"!in({','.join(sorted(avoid))})"}] * ranks
        each = Resources(cpus=self._job.cpus, gpus=float(self._job.gpus))
        group = placement_group(
            [resources_of(each)] * ranks,
            strategy="PACK",
            name=self._name(attempt),
            lifetime="detached",
            bundle_label_selector=selector,
        )
        self._attempts[attempt] = _Attempt(group=group, ranks=ranks, places=places)
        self._placing[self._ask(group.ready())] = attempt

    def launch(self, attempt: int, orders: Sequence[Launch]) -> None:
        """See `orchestrator.scripts.supervisor.Crew.launch`."""
        for handle, order in zip(self._attempts[attempt].handles, orders, strict=True):
            handle.launch.remote(order)

    def terminate(self, attempt: int, ranks: Collection[int]) -> None:
        """See `orchestrator.scripts.supervisor.Crew.terminate`."""
        for rank in ranks:
            self._attempts[attempt].handles[rank].terminate.remote()

    def kill(self, attempt: int, ranks: Collection[int]) -> None:
        """See `orchestrator.scripts.supervisor.Crew.kill`."""
        for rank in ranks:
            self._attempts[attempt].handles[rank].kill.remote()

    def dismiss(self, attempt: int) -> None:
        """See `orchestrator.scripts.supervisor.Crew.dismiss`."""
        known = self._attempts.pop(attempt, None)
        if known is None:
            return
        for handle in known.handles:
            ray.kill(handle)  # what it runs dies with it; see `workers.script.guard`
        remove_placement_group(known.group)
        self._placing = {ref: number for ref, number in self._placing.items() if number != attempt}
        self._polls = {ref: who for ref, who in self._polls.items() if who[0] != attempt}
        self._again = [entry for entry in self._again if entry[1] != attempt]

    def hear(self, timeout: float) -> list[ScriptNews]:
        """See `orchestrator.scripts.supervisor.Crew.hear`."""
        now = time.monotonic()
        due = [entry for entry in self._again if entry[0] <= now]
        self._again = [entry for entry in self._again if entry[0] > now]
        for _, attempt, rank in due:
            self._poll(attempt, rank)
        with suppress(Empty):
            self._take(self._arrived.get(timeout=0 if self._news else timeout))
            while True:
                self._take(self._arrived.get_nowait())
        news, self._news = self._news, []
        return news

    def held(self) -> dict[str, int]:
        """See `orchestrator.scripts.supervisor.Crew.held`."""
        held: Counter[str] = Counter()
        for known in list(self._attempts.values()):
            held.update(known.places or {})
        return dict(held)

    def nodes(self) -> dict[str, str]:
        """Nodes of the cluster that are alive: id → name."""
        return {node["NodeID"]: node["NodeManagerHostname"] for node in ray.nodes() if node["Alive"]}

    def close(self, *, clean: bool) -> None:
        """See `orchestrator.scripts.supervisor.Crew.close`."""
        for attempt in list(self._attempts):
            self.dismiss(attempt)
        if not clean:
            return
        alive = self._seen & set(self.nodes())
        cleaning = [
            remove_folder.options(
                scheduling_strategy=NodeAffinitySchedulingStrategy(node_id=node, soft=False)
            ).remote(self._job.folder or self._job.run)
            for node in sorted(alive)
        ]
        if cleaning:
            ray.wait(cleaning, num_returns=len(cleaning), timeout=_CLEAN_SECONDS)

    def adopt(self) -> list[Recollection]:
        """Take over the ranks of the newest attempt that a supervisor which died has left behind; what else
        it has left is ended."""
        prefix = f"{self._job.run}/"
        named = [actor["name"] for actor in ray.util.list_named_actors(all_namespaces=True)]
        handles = {name: ray.get_actor(name, self._namespace) for name in named if name.startswith(prefix)}
        asked: dict[Any, str] = {handle.remember.remote(): name for name, handle in handles.items()}
        found: dict[str, Recollection] = {}
        if asked:
            answered, _ = ray.wait(list(asked), num_returns=len(asked), timeout=_ADOPT_SECONDS)
            for ref in answered:
                with suppress(RayError):  # it died meanwhile
                    found[asked[ref]] = ray.get(ref)
        newest = max((memory.attempt for memory in found.values()), default=-1)
        kept = {memory.rank: name for name, memory in found.items() if memory.attempt == newest}
        for name in set(handles) - set(kept.values()):
            ray.kill(handles[name])
        group = self._adopt_groups(newest)
        memories = sorted((found[name] for name in kept.values()), key=lambda memory: memory.rank)
        if not memories or group is None or len(memories) < memories[0].ranks:
            for name in kept.values():
                ray.kill(handles[name])
            if group is not None:
                remove_placement_group(group)
            return memories
        self._attempts[newest] = _Attempt(
            group=group,
            ranks=memories[0].ranks,
            places=self._places_of(memories),
            handles=[handles[kept[memory.rank]] for memory in memories],
            heard=[memory.position for memory in memories],
        )
        for memory in memories:
            self._poll(newest, memory.rank)
        return memories

    def _adopt_groups(self, newest: int) -> Any | None:
        """The placement group of this attempt; those of others are removed."""
        found = None
        for facts in ray.util.placement_group_table().values():
            if facts["name"].startswith(f"{self._job.run}/") and facts["state"] != "REMOVED":
                group = ray.util.get_placement_group(facts["name"])
                if facts["name"] == self._name(newest):
                    found = group
                else:
                    remove_placement_group(group)
        return found

    def _places_of(self, memories: Sequence[Recollection]) -> dict[str, int]:
        nodes = [up.node_id for memory in memories for up in memory.reports if isinstance(up, Up)]
        self._seen.update(nodes)
        return dict(Counter(nodes))

    def _name(self, attempt: int) -> str:
        return f"{self._job.run}/attempt-{attempt}"

    # --- hearing ---

    def _ask(self, ref: Any) -> _Answer:
        answer: _Answer = ref.future()
        answer.add_done_callback(self._arrived.put)
        return answer

    def _poll(self, attempt: int, rank: int) -> None:
        known = self._attempts.get(attempt)
        if known is not None:
            ref = known.handles[rank].poll.remote(known.heard[rank], _POLL_SECONDS)
            self._polls[self._ask(ref)] = attempt, rank

    def _take(self, answer: _Answer) -> None:
        """An answer, which nobody may want any more."""
        if answer in self._placing:
            self._placed(self._placing.pop(answer))
        elif answer in self._polls:
            self._take_poll(*self._polls.pop(answer), answer)

    def _placed(self, attempt: int) -> None:
        known = self._attempts[attempt]
        self._news.append(Placed(attempt=attempt))
        for rank, number in enumerate(self._bundles_by_node(known)):
            post = Post(
                folder=self._job.folder or self._job.run,
                rank=rank,
                attempt=attempt,
                ranks=known.ranks,
                gpus=self._job.gpus,
                sha256=self._sha256,
                bundle=self._bundle,
            )
            options = ScriptActor.options(  # type: ignore[attr-defined]
                name=f"{self._name(attempt)}/rank-{rank}",
                namespace=self._namespace,
                lifetime="detached",
                max_concurrency=_CONCURRENCY,
                num_cpus=self._job.cpus,
                num_gpus=self._job.gpus,
                scheduling_strategy=PlacementGroupSchedulingStrategy(known.group, number),
            )
            known.handles.append(options.remote(post))
            known.heard.append(0)
            self._poll(attempt, rank)

    def _bundles_by_node(self, known: _Attempt) -> list[int]:
        """The bundles of a group, those of one node together."""
        table: dict[int, str] = ray.util.placement_group_table(known.group)["bundles_to_node_id"]
        self._seen.update(table.values())
        order = {node: place for place, node in enumerate(dict.fromkeys(table[n] for n in sorted(table)))}
        return sorted(table, key=lambda number: (order[table[number]], number))

    def _take_poll(self, attempt: int, rank: int, answer: _Answer) -> None:
        try:
            numbered = answer.result()
        except ActorUnavailableError:
            self._again.append((time.monotonic() + _AGAIN_SECONDS, attempt, rank))
            return
        except RayActorError as error:
            told = lost(f"rank-{rank}", str(error))
            self._news.append(
                Gone(rank=rank, attempt=attempt, time=time.time(), cause=told.cause, fault=told.fault)
            )
            return
        if numbered:
            self._attempts[attempt].heard[rank] = numbered[-1][0]
        self._news += [report for _, report in numbered]
        self._poll(attempt, rank)
