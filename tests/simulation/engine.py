"""What a worker does, top to bottom, as `workers.worker` and `workers.training` do it; without numbers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tests.simulation.chain import CHUNKS, INITIAL, advance
from tests.simulation.meeting import Key, Meeting, PeerLost
from tests.simulation.store import Refused
from tests.simulation.worker import EXCHANGE, NEVER, ORDERS, Script, SimWorker
from workers.protocol import (
    Activity,
    Broken,
    Damaged,
    Evaluated,
    Failed,
    Fault,
    Finished,
    Formed,
    Membership,
    Parked,
    Ready,
    SaveSkipped,
    StepDone,
)

if TYPE_CHECKING:
    from tests.simulation.world import World

_NOTHING = -1


class Engine:
    """One worker's engine; `live` is its thread."""

    def __init__(self, world: World, worker: SimWorker) -> None:
        self._world, self._worker, self._plan = world, worker, world.plan
        self._rng = world.rng
        self._membership: Membership
        self._meeting: Meeting
        self._saved_at = self._looked_at = 0

    def live(self) -> Script:
        """Build, then train in one generation after another."""
        worker = self._worker
        self._at("starting")
        yield self._plan.startup * (0.3 + self._rng.random())
        worker.report(
            Ready,
            pid=1,
            node=worker.node,
            node_id=worker.node,
            device="cpu",
            store=worker.store,
            fingerprint={},
            startup={},
        )
        worker.enter(Activity.IDLE)
        generation = -1
        while True:
            while not worker.superseded(generation):
                yield ORDERS
            assert worker.membership is not None
            self._membership = worker.membership
            generation = self._membership.generation
            if worker.name not in self._membership.workers:
                continue
            try:
                yield from self._train()
            except PeerLost as error:
                worker.enter(Activity.RECOVERY)
                worker.report(
                    Broken, generation=generation, step=worker.step, begun=worker.begun, message=str(error)
                )
            except BlockDamaged as error:
                worker.enter(Activity.RECOVERY)
                worker.report(
                    Damaged,
                    generation=generation,
                    step=worker.step,
                    begun=worker.begun,
                    block=error.block,
                    message=str(error),
                )
            except Refused as error:
                fault = Fault.STORAGE if error.exit_code == 3 else Fault.INPUT
                worker.report(
                    Failed, fault=fault, message=str(error), exit_code=error.exit_code, step=worker.begun
                )
            except RecipeRaised as error:
                worker.broke_down = True
                worker.report(Failed, fault=error.fault, message=str(error), step=worker.begun)

    def _train(self) -> Script:
        worker = self._worker
        self._meeting = worker.meeting = self._world.meeting(self._membership)
        try:
            self._at("connecting")
            yield 0.003 * self._rng.random()
            self._check()
            yield from self._meet(("connect", 0), None)
            restored = yield from self._settle()
            worker.report(Formed, generation=self._membership.generation, step=worker.step, restored=restored)
            yield from self._run(catch_up=not restored)
            worker.enter(Activity.IDLE)
            while not worker.superseded(self._membership.generation):  # somebody may still be reading
                yield ORDERS
        finally:
            worker.meeting = None
            self._meeting.leave(worker.name, silently=worker.cut)

    # --- one state for all ---

    def _settle(self) -> Any:
        worker, membership = self._worker, self._membership
        worker.save.give_up()
        worker.last_save = membership.saved_step
        self._at("agreeing")
        own = (_NOTHING if worker.step is None else worker.step, worker.evaluated)
        rows = yield from self._meet(("agree", 0), own)
        found = [rows[name] for name in membership.workers]
        furthest = max(found)
        step, worker.evaluated = furthest
        if step != _NOTHING:
            behind = [n for n, row in zip(membership.workers, found, strict=True) if row[0] < step]
            yield from self._heal(membership.workers[found.index(furthest)], behind, step)
            return False
        worker.step, worker.state = 0, INITIAL
        if membership.resume_step is not None:
            worker.step = worker.state = None
            self._at("restoring")
            yield 0.02 + 0.1 * self._rng.random()
            worker.state = self._world.store.read(membership.resume_step)
            worker.step = membership.resume_step
        return membership.resume_step is not None

    def _heal(self, source: str, behind: list[str], step: int) -> Any:
        worker = self._worker
        for number, peer in enumerate(behind):
            if worker.name not in (source, peer):
                continue
            self._at("healing")
            yield 0.002 + 0.05 * self._rng.random()
            value = worker.state if worker.name == source else None
            values = yield from self._meet(("heal", number), value, (source, peer))
            if worker.name == peer:
                worker.state, worker.step = values[source], step

    # --- the loop ---

    def _run(self, *, catch_up: bool) -> Script:
        worker, steps = self._worker, self._plan.steps
        self._saved_at = self._looked_at = self._membership.saved_step
        worker.enter(Activity.PRODUCTIVE)
        if catch_up:
            yield from self._catch_up()
        while worker.step < steps:  # type: ignore[operator]
            hold, busy = yield from self._step()
            yield from self._after_step(busy)
            if hold and worker.step < steps:  # type: ignore[operator]
                if hold == 2:
                    yield from self._save()
                    yield from self._flush()
                worker.report(Parked, generation=self._membership.generation, step=worker.step)
                self._at("parked")
                return
        yield from self._evaluate()
        yield from self._save()
        yield from self._flush()
        digest = str(worker.state) if self._membership.workers[0] == worker.name else None
        worker.report(Finished, generation=self._membership.generation, step=worker.step, state_digest=digest)
        self._at("finished")

    def _step(self) -> Any:
        worker, clock = self._worker, self._world.clock
        assert worker.step is not None
        step = worker.begun = worker.step + 1
        generation, began = self._membership.generation, clock.now
        hosted = self._membership.hosted[self._membership.workers.index(worker.name)]
        self._at("computing")
        signals = worker.signals(generation)
        seconds = self._plan.step_seconds * worker.speed * len(hosted) / self._plan.virtual_ranks
        for _ in range(min(2, len(hosted))):
            self._check()
            worker.enter(Activity.PRODUCTIVE)
            if worker.will_hang:
                yield from self._hang()
            yield seconds * (0.4 + 0.2 * self._rng.random())
            self._hit(step, hosted)
            if not worker.alive:
                yield NEVER
        busy = clock.now - began
        worker.enter(Activity.REDUCE_WAIT)
        self._at("exchanging")
        values = yield from self._meet(("step", step), (worker.step, worker.state, hosted, signals))
        worker.state, worker.step = advance(worker.state, step), step  # type: ignore[arg-type]
        self._world.oracles.applied(worker, generation)
        worker.report(
            StepDone,
            generation=generation,
            step=step,
            epoch=0,
            samples=step,
            loss=1.0,
            values=_NO_VALUES,
            seconds=clock.now - began,
            busy_seconds=busy,
        )
        worker.enter(Activity.PRODUCTIVE)
        self._at("applied")
        holds, busy = zip(*(value[3] for value in values.values()), strict=True)
        return max(holds), max(busy)

    def _catch_up(self) -> Script:
        step = self._worker.step
        if step and self._plan.evaluate_every and step % self._plan.evaluate_every == 0:
            yield from self._evaluate()
        if step and self._plan.save_every and step % self._plan.save_every == 0:
            yield from self._save()

    def _after_step(self, busy: int) -> Script:
        step, every = self._worker.step, self._plan.save_every
        assert step is not None
        if self._plan.evaluate_every and step % self._plan.evaluate_every == 0:
            yield from self._evaluate()
        self._check_save()
        if not every or step == self._plan.steps or step // every <= self._looked_at // every:
            return
        if busy and not self._plan.save_waits:
            self._looked_at = step
            if self._membership.workers[0] == self._worker.name:
                self._worker.report(SaveSkipped, step=step)
        else:
            yield from self._save()

    def _evaluate(self) -> Script:
        worker = self._worker
        if not self._plan.evaluate_every or worker.evaluated == worker.step:
            return
        worker.enter(Activity.EVALUATION)
        self._at("evaluating")
        if worker.will_hang:
            yield from self._hang()
        yield self._plan.step_seconds * worker.speed * self._rng.random()
        self._check()
        assert worker.step is not None
        worker.enter(Activity.REDUCE_WAIT)
        yield from self._meet(("evaluate", worker.step), worker.step)
        worker.evaluated = worker.step
        worker.report(Evaluated, step=worker.step, metrics=_NO_VALUES)
        worker.enter(Activity.PRODUCTIVE)

    def _save(self) -> Script:
        worker, membership = self._worker, self._membership
        assert worker.step is not None
        if self._plan.save_every is None or self._saved_at >= worker.step > 0:
            return
        worker.enter(Activity.CHECKPOINT_STALL)
        while worker.is_saving:
            self._check()
            self._check_save()
            yield ORDERS
        self._at("saving")
        rank, world = membership.workers.index(worker.name), len(membership.workers)
        yield 0.002 + 0.01 * self._rng.random()
        self._check()
        chunks = {number: (worker.step, worker.state) for number in range(CHUNKS) if number % world == rank}
        report = {
            "generation": membership.generation,
            "step": worker.step,
            "chunks": chunks,
            "draft": {"step": worker.step} if rank == 0 else None,
            "written_bytes": 1,
            "seconds": 0.0,
        }
        worker.last_save = self._saved_at = self._looked_at = worker.step
        worker.save.begin(self._plan.write_seconds * (0.5 + self._rng.random()), report)
        worker.enter(Activity.PRODUCTIVE)
        self._at("saved")

    def _flush(self) -> Script:
        self._worker.enter(Activity.CHECKPOINT_STALL)
        self._at("flushing")
        while self._worker.save.is_going_on:
            self._check()
            yield ORDERS
        self._check_save()

    def _check_save(self) -> None:
        error, self._worker.save.error = self._worker.save.error, None
        if error is not None:
            raise error

    # --- what can go wrong ---

    def _meet(self, key: Key, value: Any, participants: tuple[str, ...] = ()) -> Any:
        self._meeting.arrive(self._worker, key, value, participants)
        found = yield EXCHANGE
        return found

    def _check(self) -> None:
        if self._worker.superseded(self._membership.generation):
            raise PeerLost("a newer generation")

    def _hang(self) -> Script:
        self._worker.hung = True
        self._world.hush()
        yield NEVER

    def _hit(self, step: int, hosted: tuple[int, ...]) -> None:
        fault = self._worker.fails_with
        if fault is not None:
            self._worker.fails_with = None
            raise RecipeRaised(fault)
        damage = self._world.damage.get(step)
        if damage is not None and damage in hosted and not self._is_left_out(step):
            raise BlockDamaged(step)
        curse = self._world.curses.get(step)
        if curse is not None and curse[0] in hosted:
            if curse[1] is Fault.POISON:
                self._world.crash(self._worker)
            else:
                raise RecipeRaised(Fault.USER)

    def _is_left_out(self, block: int) -> bool:
        """Blocks are called by the step that needs them."""
        return any(known.block == block >= known.step for known in self._membership.left_out)

    def _at(self, phase: str) -> None:
        self._worker.phase = phase
        if phase in self._world.armed:
            self._world.visit(phase, self._worker)


class RecipeRaised(Exception):
    """The user's code, or ours, raised."""

    def __init__(self, fault: Fault) -> None:
        super().__init__(f"{fault} error")
        self.fault = fault


class BlockDamaged(Exception):
    """A block that the step needs cannot be read."""

    def __init__(self, block: int) -> None:
        super().__init__(f"block {block} is damaged")
        self.block = block


_NO_VALUES: dict[str, float] = {}
