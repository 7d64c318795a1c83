"""How each kind of trouble is brought about."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from orchestrator.gang.events import Drain, Interrupted, Pause, Resize, Resume, Stop
from tests.simulation.plan import Trouble
from workers.protocol import Fault

if TYPE_CHECKING:
    from tests.simulation.worker import SimWorker
    from tests.simulation.world import World

_LONG = 10.0


def happen(world: World, trouble: Trouble, victim: SimWorker | None = None) -> None:
    """Bring a trouble about. One that is not aimed at anybody finds a victim of its own."""
    if victim is None or not victim.alive or victim.dismissed:
        alive = [worker for worker in world.crew.workers.values() if worker.alive]
        victim = alive[int(world.rng.random() * len(alive))] if alive else None
    if trouble.kind in _OF_THE_JOB:
        _OF_THE_JOB[trouble.kind](world, trouble)
    elif victim is not None:
        _OF_A_WORKER[trouble.kind](world, trouble, victim)
    else:
        return
    where = victim.phase if victim is not None and trouble.kind in _OF_A_WORKER else "any"
    world.happened.append((trouble.kind, where))
    world.log(f"trouble: {trouble.kind} {victim.name if victim else ''} {trouble.seconds:.2f} s")


# --- of a worker ---


def _crash(world: World, trouble: Trouble, victim: SimWorker) -> None:
    world.crash(victim)


def _crash_pair(world: World, trouble: Trouble, victim: SimWorker) -> None:
    world.crash(victim)
    others = [worker for worker in world.crew.workers.values() if worker.alive]
    if others:
        delay = world.rng.choice((0.0, 0.02, 0.1))
        world.clock.after(delay, partial(world.crash, others[trouble.number % len(others)]))


def _crash_all(world: World, trouble: Trouble, victim: SimWorker) -> None:
    for worker in list(world.crew.workers.values()):
        world.crash(worker)


def _node_loss(world: World, trouble: Trouble, victim: SimWorker) -> None:
    world.lose_node(victim.node, silently=world.rng.random() < 0.5)


def _freeze(world: World, trouble: Trouble, victim: SimWorker) -> None:
    victim.freeze()


def _freeze_then_thaw(world: World, trouble: Trouble, victim: SimWorker) -> None:
    victim.freeze()
    world.clock.after(min(trouble.seconds, _LONG), victim.thaw)


def _stuck(world: World, trouble: Trouble, victim: SimWorker) -> None:
    victim.will_hang = True


def _partition(world: World, trouble: Trouble, victim: SimWorker) -> None:
    victim.cut_off()
    if trouble.seconds < _LONG:
        world.clock.after(trouble.seconds, victim.join)


def _silent_partition(world: World, trouble: Trouble, victim: SimWorker) -> None:
    _partition(world, trouble, victim)
    _out_of_reach(world, trouble, victim)


def _out_of_reach(world: World, trouble: Trouble, victim: SimWorker) -> None:
    victim.unreachable = True
    if trouble.seconds < _LONG:
        world.clock.after(trouble.seconds, victim.reach)


def _cut_lifeline(world: World, trouble: Trouble, victim: SimWorker) -> None:
    world.crew.cut_lifeline(victim)


def _memory(world: World, trouble: Trouble, victim: SimWorker) -> None:
    victim.fails_with = Fault.MEMORY


def _internal(world: World, trouble: Trouble, victim: SimWorker) -> None:
    victim.fails_with = Fault.INTERNAL


# --- of the job ---


def _failed_start(world: World, trouble: Trouble) -> None:
    world.crew.failing_starts += 1 + trouble.number % 3


def _store_failure(world: World, trouble: Trouble) -> None:
    world.store.failing += 1


def _unreachable_store(world: World, trouble: Trouble) -> None:
    world.store.down_until = world.clock.now + min(trouble.seconds, _LONG)


def _damaged_block(world: World, trouble: Trouble) -> None:
    world.damage[trouble.number] = trouble.count % world.plan.virtual_ranks


def _user_error(world: World, trouble: Trouble) -> None:
    world.curses[trouble.number] = (trouble.count % world.plan.virtual_ranks, Fault.USER)


def _poison(world: World, trouble: Trouble) -> None:
    world.curses[trouble.number] = (trouble.count % world.plan.virtual_ranks, Fault.POISON)


def _asleep(world: World, trouble: Trouble) -> None:
    world.crew.nap = min(trouble.seconds, _LONG)


def _supervisor_death(world: World, trouble: Trouble) -> None:
    world.crew.doomed = 0.3 + min(trouble.seconds, _LONG) / 4


def _suspended(world: World, trouble: Trouble) -> None:
    world.clock.suspended += min(trouble.seconds, _LONG)


def _resize(world: World, trouble: Trouble) -> None:
    workers = 1 + trouble.number % 5
    if world.places is None:
        world.wish(Resize(workers=workers))
    else:  # who decides on nodes decides on numbers too
        world.place({sorted(world.places)[0]: workers})


def _move(world: World, trouble: Trouble) -> None:
    """Somebody outside says where each worker should be, from now on."""
    rng = world.rng
    nodes = [f"node-{number}" for number in range(world.plan.nodes)]
    places: dict[str, int] = {}
    for _ in range(1 + trouble.number % 5):
        node = nodes[int(rng.random() * len(nodes))]
        places[node] = places.get(node, 0) + 1
    world.place(places)


def _stop(world: World, trouble: Trouble) -> None:
    seconds = min(trouble.seconds, _LONG)
    by = world.clock.read() + seconds  # of several, the first counts
    world.stop_by = by if world.stop_by is None else min(by, world.stop_by)
    world.wish(Stop(seconds=seconds))


def _drain(world: World, trouble: Trouble) -> None:
    node, seconds = f"node-{trouble.number % world.plan.nodes}", min(trouble.seconds, _LONG)
    world.draining.append(node)
    world.wish(Drain(node=node, seconds=seconds))
    if world.places is not None:
        world.place(world.places)
    if trouble.count != 1:
        world.clock.after(seconds, partial(world.lose_node, node, silently=False))


def _pause(world: World, trouble: Trouble) -> None:
    world.wish(Pause())


def _pause_then_resume(world: World, trouble: Trouble) -> None:
    world.wish(Pause())
    world.clock.after(min(trouble.seconds, _LONG), partial(world.wish, Resume()))


def _resume(world: World, trouble: Trouble) -> None:
    world.wish(Resume())


def _interrupt(world: World, trouble: Trouble) -> None:
    world.wish(Interrupted())


_OF_A_WORKER: dict[str, Callable[[World, Trouble, SimWorker], None]] = {
    "crash": _crash,
    "crash pair": _crash_pair,
    "crash all": _crash_all,
    "node loss": _node_loss,
    "freeze": _freeze,
    "freeze, then thaw": _freeze_then_thaw,
    "stuck": _stuck,
    "partition": _partition,
    "silent partition": _silent_partition,
    "out of reach": _out_of_reach,
    "cut lifeline": _cut_lifeline,
    "memory": _memory,
    "internal": _internal,
}
_OF_THE_JOB: dict[str, Callable[[World, Trouble], None]] = {
    "failed start": _failed_start,
    "store failure": _store_failure,
    "unreachable store": _unreachable_store,
    "damaged block": _damaged_block,
    "user error": _user_error,
    "poison": _poison,
    "supervisor asleep": _asleep,
    "supervisor death": _supervisor_death,
    "machine suspended": _suspended,
    "resize": _resize,
    "move": _move,
    "stop": _stop,
    "drain": _drain,
    "pause": _pause,
    "pause, then resume": _pause_then_resume,
    "resume": _resume,
    "interrupt": _interrupt,
}
