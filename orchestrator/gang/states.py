"""Where a job can be in its life, as frozen values: what holds in all phases, and a class for each phase."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any

from orchestrator.gang.commands import Commit
from orchestrator.gang.policy import Policy
from workers.protocol import Activity, Fault, LeftOut, Membership, Saved


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """How a job ended.

    Attributes:
        done: it reached its last step and everything is saved.
        fault, message, trace: why it did not.
        exit_code: 0 done, 1 failed, 2 the input was wrong, 3 a system was unreachable.
        worker, step: who reported the failure, and in which step.
        by_itself: of a worker that failed: nobody else ended it, as far as that can be known.
        stopped: it was told to save and end. It can go on from `step`, the newest checkpoint that was known
            of by then.
    """

    done: bool
    stopped: bool = False
    exit_code: int = 0
    fault: Fault | None = None
    message: str = ""
    trace: str | None = None
    worker: str | None = None
    step: int | None = None
    by_itself: bool = True


@dataclass(frozen=True, kw_only=True)
class Culprit:
    """A worker that died in the middle of a step; `by_itself` as in `Outcome`."""

    worker: str
    node: str | None
    by_itself: bool


class Stage(StrEnum):
    """Where a worker is, as far as the gang is concerned."""

    STARTING = "starting"  # its process starts, or builds the recipe
    READY = "ready"  # waits for its first generation
    FORMING = "forming"  # was told of the current generation
    TRAINING = "training"
    PARKED = "parked"  # stopped at a boundary
    BROKEN = "broken"  # lost a peer, or its store; keeps its state
    FINISHED = "finished"
    LEAVING = "leaving"  # in no generation any more; keeps its state until the next one has it


@dataclass(frozen=True, kw_only=True)
class Member:
    """A worker that is not gone.

    Attributes:
        node: where it runs, once that is known.
        store: where a generation could meet, served by it.
        step: the step whose state it holds; None for none.
        heard: when it was heard of last, or got its place; None before.
        activity, since: what it was doing then, and from when on.
        why: what it is left out for, while it keeps its state for the others; else empty.
        costs: seconds of work for one virtual rank, in its latest steps of this generation.
        cost: the median of earlier ones.
    """

    id: str
    stage: Stage = Stage.STARTING
    node: str | None = None
    store: str | None = None
    step: int | None = None
    heard: float | None = None
    activity: Activity = Activity.STARTUP
    since: float = 0.0
    why: str = ""
    costs: tuple[float, ...] = ()
    cost: float | None = None


@dataclass(frozen=True, kw_only=True)
class Gone:
    """A worker that is gone, and nobody knows why yet.

    Attributes:
        member: what it was.
        trained: it belonged to the current generation, whose number is
        generation, and which had committed
        step.
    """

    member: Member
    trained: bool
    generation: int
    step: int


# --- phases ---


@dataclass(frozen=True, kw_only=True)
class Gathering:
    """Nobody holds a state yet: the ready wait for the others, from `since` on."""

    since: float | None = None


@dataclass(frozen=True, kw_only=True)
class Forming:
    """A membership was sent out; its members meet."""

    since: float


@dataclass(frozen=True, kw_only=True)
class Training:
    """A generation is at work."""


@dataclass(frozen=True, kw_only=True)
class Holding:
    """A generation is at work, and was asked to stop at the next boundary; with a checkpoint if `save`."""

    why: str
    save: bool = False


@dataclass(frozen=True, kw_only=True)
class Waiting:
    """A generation is broken; the next one is formed at `until`, or as soon as the cause is known."""

    until: float
    why: Fault


@dataclass(frozen=True, kw_only=True)
class Recalling:
    """Nobody holds a state any more: the newest checkpoint that verifies is being looked for."""


@dataclass(frozen=True, kw_only=True)
class Paused:
    """All members stopped at a boundary, and stay there."""


@dataclass(frozen=True, kw_only=True)
class Ended:
    """Nothing happens any more."""

    outcome: Outcome


Phase = Gathering | Forming | Training | Holding | Waiting | Recalling | Paused | Ended


@dataclass(frozen=True, kw_only=True)
class Saving:
    """A checkpoint whose chunks are durable and whose manifest is being written; again at `retry_at`.

    Attributes:
        failures: attempts that the store did not take, and
        failing_since: when the first of them was.
    """

    command: Commit
    retry_at: float | None = None
    failures: int = 0
    failing_since: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Trouble:
    """What went wrong since a step was last committed.

    Attributes:
        counts: failures by class.
        step: the last committed step when workers died in the middle of the next one, and
        culprits: who did, in order, the latest in
        generation.
        last: how the latest failure would end the job.
    """

    counts: Mapping[Fault, int] = field(default_factory=dict)
    step: int | None = None
    generation: int | None = None
    culprits: tuple[Culprit, ...] = ()
    last: Outcome | None = None


@dataclass(frozen=True, kw_only=True)
class Hiring:
    """Starting workers: how often in a row that failed, when it may be tried again, and names used up."""

    failures: int = 0
    next_at: float = 0.0
    named: int = 0


@dataclass(frozen=True, kw_only=True)
class Draining:
    """A node that goes away.

    Attributes:
        deadline: when its workers must be gone.
        saved: a checkpoint was asked for, because nobody elsewhere could take over.
    """

    deadline: float
    saved: bool = False


@dataclass(frozen=True, kw_only=True)
class Gang:
    """One job at one moment.

    Attributes:
        crew: every worker that is not gone, in the order in which they were hired.
        gone: those that are, as long as nobody knows why.
        target: how many workers the job should have, and
        places: how many of them on each node; None where the cluster chooses.
        membership: the current generation, or the last one; None before the first.
        resume_step: the checkpoint to start from as long as nobody holds a state.
        step: the last committed step.
        furthest: the highest step that ever was; higher than `step` when all workers were lost since.
        step_seconds: how long the latest steps took.
        evaluation_seconds: the longest evaluation so far.
        progress_at: when the job was last seen to get on.
        ticked: the time of the last event.
        saves: checkpoints whose chunks are not all durable yet: step → worker → report.
        committing: by step.
        committed_step: the newest checkpoint; 0 for none.
        digested: the final state's digest is known.
        draining: nodes that go away.
        paused: the user wants the job to stand still.
        stop_by: it was told to save and end, by this time.
        left_out: damaged blocks of the training set, by number.
        balanced_at: when speeds were last compared.
    """

    policy: Policy
    phase: Phase
    target: int
    crew: Mapping[str, Member] = field(default_factory=dict)
    gone: Mapping[str, Gone] = field(default_factory=dict)
    membership: Membership | None = None
    resume_step: int | None = None
    step: int = 0
    furthest: int = 0
    step_seconds: tuple[float, ...] = ()
    evaluation_seconds: float = 0.0
    progress_at: float = 0.0
    ticked: float = 0.0
    saves: Mapping[int, Mapping[str, Saved]] = field(default_factory=dict)
    committing: Mapping[int, Saving] = field(default_factory=dict)
    committed_step: int = 0
    digested: bool = False
    draining: Mapping[str, Draining] = field(default_factory=dict)
    paused: bool = False
    stop_by: float | None = None
    places: Mapping[str, int] | None = None
    left_out: tuple[LeftOut, ...] = ()
    balanced_at: float = 0.0
    trouble: Trouble = field(default_factory=Trouble)
    hiring: Hiring = field(default_factory=Hiring)

    @property
    def generation(self) -> int:
        """The current generation, or the last one; -1 before the first."""
        return self.membership.generation if self.membership is not None else -1

    @property
    def members(self) -> tuple[Member, ...]:
        """Those of the current generation that are not gone, by rank."""
        if self.membership is None:
            return ()
        return tuple(self.crew[worker] for worker in self.membership.workers if worker in self.crew)

    @property
    def holders(self) -> tuple[Member, ...]:
        """Workers that hold a state."""
        return tuple(member for member in self.crew.values() if member.step is not None)

    @property
    def saved_step(self) -> int:
        """The newest step whose checkpoint needs no more work from workers."""
        return max(self.committed_step, *self.committing, 0)

    def is_member(self, worker: str) -> bool:
        """Whether it belongs to the current generation and is not gone."""
        return self.membership is not None and worker in self.membership.workers and worker in self.crew

    def having(self, worker: str, **changes: Any) -> Gang:
        """With these changes of one worker's facts."""
        return replace(self, crew={**self.crew, worker: replace(self.crew[worker], **changes)})

    def without(self, worker: str) -> Gang:
        """With this worker gone."""
        return replace(self, crew={id: member for id, member in self.crew.items() if id != worker})


State = Gang
