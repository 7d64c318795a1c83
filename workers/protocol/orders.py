"""What a supervisor tells its workers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple


class LeftOut(NamedTuple):
    """A damaged block of the training set that nobody reads any more.

    Attributes:
        block: its number, counted through all data sets of a mixture.
        step: the first one that is done without it, counted from 1.
    """

    block: int
    step: int


@dataclass(frozen=True, kw_only=True)
class Membership:
    """One generation: who belongs to it, who hosts which virtual ranks, and where its members meet.

    A worker that is told of one to which it does not belong keeps its state, and waits.

    Attributes:
        generation: counts up within a job; never used twice. A higher one ends all lower ones.
        workers: worker ids by DDP rank.
        hosted: virtual ranks by DDP rank; together each of 0..V-1 exactly once.
        store: `host:port` of the rendezvous store, served by one of the members.
        resume_step: the checkpoint to restore if no member holds a state; None to start from nothing then.
        saved_step: no checkpoint of this step or an earlier one needs to be written again.
        committed_step: the newest checkpoint whose manifest is durable.
        wanted: how many workers the job should have, and
        places: how many of them on each node; None where the cluster chooses.
        left_out: damaged blocks, by number.
        step: where training is expected to go on, for whoever wants to prepare for it; the members know.
    """

    generation: int
    workers: tuple[str, ...]
    hosted: tuple[tuple[int, ...], ...]
    store: str
    resume_step: int | None = None
    saved_step: int = 0
    committed_step: int = 0
    wanted: int = 0
    left_out: tuple[LeftOut, ...] = ()
    step: int = 0
    places: Mapping[str, int] | None = None


@dataclass(frozen=True, kw_only=True)
class Hold:
    """Stop at the next step boundary and wait for a membership. All members stop at the same one: the wish
    rides in the step's exchange of losses, so it is enough that one of them has heard of it.

    Attributes:
        generation: what it is meant for; another generation does not care.
        save: write a checkpoint at that boundary first.
        pause: the job's owner wants it to stand still there.
    """

    generation: int
    save: bool = False
    pause: bool = False


@dataclass(frozen=True, kw_only=True)
class CheckpointCommitted:
    """The manifest of `step` is durable, and old checkpoints are cleared away: the next save may begin."""

    step: int


@dataclass(frozen=True, kw_only=True)
class SaveWanted:
    """A checkpoint later than `step` is wanted, at the next boundary. It is enough to tell one member."""

    step: int


Order = Membership | Hold | CheckpointCommitted | SaveWanted
