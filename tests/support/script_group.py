"""A script job's group in tests: shorthands, and a crew that is made up."""

from __future__ import annotations

from dataclasses import dataclass, field

from orchestrator.scripts.commands import Command, Dismiss, Hire, Kill, Launch, Terminate
from orchestrator.scripts.job import Policy, ScriptJob
from orchestrator.scripts.machine import Event, handle, start
from orchestrator.scripts.states import Ended, Group
from workers.script.protocol import Exited, Gone, Refused, Started, Up

JOB = ScriptJob(name="job", run="job-1", command=("python", "train.py"), grace=30.0, workers_max=8)


def up(rank: int, attempt: int = 0, node: str = "n0", gpus: tuple[str, ...] = ()) -> Up:
    return Up(
        rank=rank,
        attempt=attempt,
        time=0.0,
        node=node,
        node_id=node,
        host=f"10.0.0.{node[-1]}",
        port=29500 + rank,
        gpus=gpus,
    )


def exited(rank: int, attempt: int = 0, code: int | None = None, time: float = 0.0, **facts) -> Exited:
    if code is None and "signal" not in facts:
        code = 0
    return Exited(rank=rank, attempt=attempt, time=time, code=code, **facts)


def failed(rank: int, attempt: int = 0, error: str = "ValueError: no", line: int = 3, **facts) -> Exited:
    """With a traceback."""
    trace = f'Traceback (most recent call last):\n  File "train.py", line {line}, in main\n    f()\n{error}\n'
    return exited(rank, attempt, code=1, trace=trace, **facts)


def gone(rank: int, attempt: int = 0, **facts) -> Gone:
    return Gone(rank=rank, attempt=attempt, time=0.0, cause="lost", **facts)


class BrokenRule(Exception):
    """The group did what it never may."""


@dataclass
class Life:
    """A group, the commands it gave, and what they have made of the world: broken rules raise.

    Attributes:
        hired: the attempt that has places, or None.
        launched: whether its programs were started.
        living: its ranks whose programs have not ended.
    """

    workers: int = 3
    job: ScriptJob = JOB
    policy: Policy = field(default_factory=Policy)
    now: float = 0.0
    places: dict[str, int] | None = None

    def __post_init__(self) -> None:
        self.hired: int | None = None
        self.ranks = 0
        self.launched = False
        self.living: set[int] = set()
        self.begun = 0
        self.told: list[Command] = []
        self.group: Group
        self.group, commands = start(self.job, self.policy, self.workers, self.places, self.now)
        self._carry_out(commands)

    def hear(self, *events: Event, after: float = 0.0) -> list[Command]:
        """What the group does on these events, each `after` so many seconds."""
        told: list[Command] = []
        for event in events:
            self.now += after
            if isinstance(event, (Exited, Gone, Refused)) and event.attempt == self.hired:
                self.living.discard(event.rank)
            self.group, commands = handle(self.group, event, self.now)
            self._carry_out(commands)
            told += commands
        return told

    def run(self) -> None:
        """All ranks of the current attempt come up, and their programs start."""
        attempt = self.group.attempt
        self.hear(*(up(rank, attempt) for rank in range(self.ranks)))
        started = [
            Started(rank=rank, attempt=attempt, time=0.0, pid=100 + rank) for rank in range(self.ranks)
        ]
        self.hear(*started)

    @property
    def outcome(self):
        return self.group.phase.outcome if isinstance(self.group.phase, Ended) else None

    def _carry_out(self, commands: tuple[Command, ...]) -> None:
        self.told += commands
        for command in commands:
            match command:
                case Hire():
                    self._never(self.hired is not None, "two attempts have places at once")
                    self._never(command.ranks < 1, "a group of nobody")
                    self.hired, self.ranks, self.launched = command.attempt, command.ranks, False
                    self.begun += 1
                case Launch():
                    self._never(command.attempt != self.hired, "programs without places")
                    self._never(self.launched, "started twice")
                    self._never(len(command.orders) != self.ranks, "part of a group was started")
                    self.launched, self.living = True, set(range(self.ranks))
                case Terminate() | Kill():
                    self._never(command.attempt != self.hired, "a signal to another attempt")
                    self._never(not self.launched, "a signal to what was never started")
                    self._never(not set(command.ranks) <= self.living, "a signal to a rank that has ended")
                case Dismiss():
                    self._never(command.attempt != self.hired, "dismissed twice")
                    self.hired, self.living = None, set()
        self._never(self.outcome is not None and self.hired is not None, "ended, and still has places")

    def _never(self, broken: bool, rule: str) -> None:
        if broken:
            raise BrokenRule(f"{rule}: {self.told}")
