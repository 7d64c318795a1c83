"""A simulated worker process: its engine, its orders, its outbox, and the ways in which it can go wrong."""

from __future__ import annotations

from collections.abc import Generator
from functools import partial
from typing import TYPE_CHECKING, Any, cast

from tests.simulation.meeting import Meeting, PeerLost
from tests.simulation.saving import SaveBehind
from workers.outbox import LINGER_SECONDS, PATIENT
from workers.protocol import (
    Activity,
    Beat,
    CheckpointCommitted,
    Event,
    Fault,
    Hold,
    Membership,
    Memory,
    News,
    Order,
    Pulse,
    Report,
)

if TYPE_CHECKING:
    from tests.simulation.world import World

#: How an engine waits: so many seconds, or for one of these.
EXCHANGE, ORDERS, NEVER = "exchange", "orders", "never"
Wait = float | str
Script = Generator[Wait, Any, None]


class SimWorker:
    """Drives one engine's script; what it reports goes up a link that keeps its order.

    Attributes:
        store: where a generation can meet; no other process ever has the same.
        token: names the present wait of the engine: whoever ends an earlier one comes too late.
        hung: it never comes back from the user's code, and goes on saying that it is alive.
        broke_down: its own code raised: what it holds may be half of something.
        muted: what is on its way from it is lost.
        given_up: its supervisor takes it for dead, and will see to that.
        will_hang, fails_with: what happens the next time that it computes.
        cut: no peer hears it, and it hears no peer.
        unreachable: nothing passes between it and the supervisor.
    """

    def __init__(self, world: World, name: str, node: str, speed: float, store: str) -> None:
        self.world, self.name, self.node, self.speed, self.store = world, name, node, speed, store
        self.alive, self.frozen, self.cut, self.unreachable = True, False, False, False
        self.dismissed, self.hung, self.broke_down, self.muted = False, False, False, False
        self.given_up = False
        self.will_hang, self.fails_with = False, cast("Fault | None", None)
        self.token = 0
        self.state: int | None = None
        self.step: int | None = None
        self.evaluated = -1
        self.begun: int | None = None
        self.phase = "starting"
        self.activity, self.entered = Activity.STARTUP, world.clock.now
        self.membership: Membership | None = None
        self.meeting: Meeting | None = None
        self.committed = self.last_save = 0
        self.save = SaveBehind(self)
        self._hold = Hold(generation=-1)
        self._script: Script | None = None
        self._waits: Wait = NEVER
        self._missed: list[partial[None]] = []
        self._outbox: list[Event] = []
        self._said: list[Event] = []
        self._listener = 0  # supervisors so far
        self._lingers = False
        self._spoke = world.clock.now
        self._up = self._down = 0.0  # until when the link is busy, each way

    # --- the engine ---

    def start(self, script: Script) -> None:
        """Begin to live."""
        self._script = script
        self._advance(None, None)
        self._beat()

    def wake(self, token: int, value: Any = None, error: PeerLost | None = None) -> None:
        """End the engine's wait, if it is still the one with this token."""
        if self.frozen and self.alive:
            self._missed.append(partial(self.wake, token, value, error))
        elif token == self.token and self.alive and self._waits != NEVER:
            self._advance(value, error)

    def _advance(self, value: Any, error: PeerLost | None) -> None:
        self.token += 1
        script = self._script
        if script is None:
            return
        wait = script.send(value) if error is None else script.throw(error)
        self._waits = wait
        if type(wait) is float:
            self.world.clock.after(wait, partial(self.wake, self.token))

    def enter(self, activity: Activity) -> None:
        """From now on it does this."""
        self.activity, self.entered = activity, self.world.clock.now

    # --- orders ---

    def tell(self, order: Order) -> None:
        """An order is on its way."""
        clock = self.world.clock
        delay = max(self._down, clock.now + self.world.latency()) - clock.now
        self._down = clock.now + delay
        clock.after(delay, partial(self._obey, order))

    def _obey(self, order: Order) -> None:
        if not self.alive:
            return
        if self.frozen or self.unreachable:
            self._missed.append(partial(self._obey, order))
            return
        if isinstance(order, Membership):
            self.committed = max(self.committed, order.committed_step)
            if self.membership is None or order.generation > self.membership.generation:
                self.membership = order
                if self._waits == EXCHANGE:
                    self.wake(self.token, error=PeerLost("a newer generation"))
        elif isinstance(order, Hold):
            self._hold = order
        elif isinstance(order, CheckpointCommitted):
            self.committed = max(self.committed, order.step)
        self.look()

    def look(self) -> None:
        """Something that an engine may wait for beside orders has happened."""
        if self._waits == ORDERS:
            self.wake(self.token)

    def superseded(self, generation: int) -> bool:
        """Whether a higher generation is known."""
        return self.membership is not None and self.membership.generation > generation

    def signals(self, generation: int) -> tuple[int, int]:
        """Whether the others should stop (1), or save and stop (2); and whether a save is on its way."""
        hold = self._hold
        return 0 if hold.generation != generation else 2 if hold.save else 1, int(self.is_saving)

    @property
    def is_saving(self) -> bool:
        """Whether the save before is still on its way, from here or to its commit."""
        return self.save.is_going_on or self.committed < self.last_save

    def call(self, action: partial[None], delay: float) -> None:
        """Have a thread of this process do something after a while."""
        self.world.clock.after(delay, partial(self._do, action))

    def _do(self, action: partial[None]) -> None:
        if self.frozen and self.alive:
            self._missed.append(partial(self._do, action))
        elif self.alive:
            action()

    # --- news ---

    def report(self, kind: type[Event], **fields: Any) -> None:
        """Put an event into the outbox."""
        if not self.alive:
            return
        event = kind(worker=self.name, time=self.world.clock.now, **fields)
        self._outbox.append(event)
        self._said.append(event)
        if kind not in PATIENT:
            self._speak()
        elif not self._lingers:
            self._lingers = True
            self.world.clock.after(LINGER_SECONDS, self._linger)

    def _linger(self) -> None:
        self._lingers = False
        if self._outbox:
            self._speak()

    def _beat(self) -> None:
        if self.alive:
            rest = self._spoke + self.world.plan.beat - self.world.clock.now
            if rest <= 0.001:
                self._speak()
                rest = self.world.plan.beat
            self.world.clock.after(rest, self._beat)

    def _speak(self) -> None:
        clock = self.world.clock
        if not self.alive or self.frozen:
            return
        self._spoke = clock.now
        pulse = Pulse(activity=self.activity, seconds=clock.now - self.entered)
        news = [*cast("list[News]", self._outbox), Beat(worker=self.name, pulse=pulse)]
        self._outbox.clear()
        self.send(news)

    def send(self, news: list[News], delay: float = 0.0) -> None:
        """Up the link, behind what is on it."""
        clock = self.world.clock
        at = max(self._up, clock.now + delay + self.world.latency())
        self._up = at
        clock.after(at - clock.now, partial(self._deliver, self._listener, news))

    def _deliver(self, listener: int, news: list[News]) -> None:
        if self.muted or listener != self._listener:
            return
        if self.unreachable:
            self._missed.append(partial(self._deliver, listener, news))
        else:
            self.world.crew.deliver(self, news)

    def remember(self) -> Memory:
        """All that a new supervisor needs to know; what was on its way to the old one is lost."""
        self._listener += 1
        self._outbox.clear()
        return Memory(
            worker=self.name,
            membership=self.membership,
            hold=self._hold if self._hold.generation >= 0 else None,
            events=tuple(cast("list[Report]", self._said)),
            position=len(self._said),
        )

    # --- what goes wrong ---

    def die(self, *, silently: bool = False) -> None:
        """The process ends; what it has not sent is lost."""
        if not self.alive:
            return
        self.alive = False
        self.world.oracles.died(self)
        self.token += 1
        self._script = None
        if self.meeting is not None:
            self.meeting.leave(self.name, silently=silently or self.cut)

    def freeze(self) -> None:
        """It stands still, and its connections stay open."""
        self.frozen = True
        self.world.hush()

    def thaw(self) -> None:
        """It goes on where it was."""
        self.frozen = False
        self._replay()
        self._speak()

    def reach(self) -> None:
        """What it and the supervisor said to each other arrives at last."""
        self.unreachable = False
        self._replay()

    def cut_off(self) -> None:
        """Packets between it and its peers are lost."""
        self.cut = True
        self.world.hush()

    def join(self) -> None:
        """The network is whole again."""
        self.cut = False
        if self.meeting is not None:
            self.meeting.recheck()

    def _replay(self) -> None:
        missed, self._missed = self._missed, []
        for action in missed:
            action()
