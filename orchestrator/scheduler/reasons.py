"""Why a job waits, or is stopped: a bounded code, facts for programs, a sentence for people."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

Fact = int | float | str


class Code(StrEnum):
    """All reasons there are."""

    # why a job is pending
    BEHIND = "behind"
    NO_ROOM = "no_room"
    PROMISED = "promised"
    WOULD_DELAY = "would_delay"
    MAKING_ROOM = "making_room"
    PROTECTED = "protected"
    QUEUE_LIMIT = "queue_limit"
    USER_LIMIT = "user_limit"
    NO_SUCH_NODE = "no_such_node"
    TOO_LARGE = "too_large"
    NODES_BOOTING = "nodes_booting"
    NODES_REFUSED = "nodes_refused"
    DEADLINE = "deadline"
    # why it is refused
    UNKNOWN_QUEUE = "unknown_queue"
    OVER_QUEUE_LIMIT = "over_queue_limit"
    OVER_USER_LIMIT = "over_user_limit"
    # why it is stopped or resized
    PRIORITY = "priority"
    RECLAIM = "reclaim"
    SERVICE = "service"
    LOAN = "loan"
    SPARE = "spare"
    BALANCE = "balance"
    DRAIN = "drain"
    # why nodes come and go
    GANG = "gang"
    IDLE = "idle"


#: What is so, and what would have to change.
_WORDS: Mapping[Code, tuple[str, str]] = {
    Code.BEHIND: (
        "it waits behind {first}, which waits for room",
        "room for those ahead of it, or a higher priority",
    ),
    Code.NO_ROOM: (
        "{needed} workers need room at once, and there is room for {free}",
        "{missing} more such workers' worth of room, or a smaller workers.min",
    ),
    Code.PROMISED: (
        "room on {nodes} nodes is kept for it",
        "nothing: it starts when those who run there are done",
    ),
    Code.WOULD_DELAY: (
        "there is room, but it would not be done before that is promised to {first}",
        "a shorter estimate, or {first} starts",
    ),
    Code.MAKING_ROOM: (
        "{leaving} workers of others are leaving for it",
        "nothing: it starts when they are gone",
    ),
    Code.PROTECTED: (
        "those who would give way to it have only just started",
        "nothing: they give way at {until}, at the latest",
    ),
    Code.QUEUE_LIMIT: (
        "queue {queue} may use {limit} {kind}, and uses {used}",
        "a job of queue {queue} ends, or its limit is raised",
    ),
    Code.USER_LIMIT: (
        "user {user} may use {limit} {kind} in queue {queue}, and uses {used}",
        "a job of user {user} ends, or the limit is raised",
    ),
    Code.NO_SUCH_NODE: (
        "no node has what one worker asks for",
        "a node with these labels and resources, or a smaller request",
    ),
    Code.TOO_LARGE: (
        "{needed} workers do not fit at once, even if nothing else ran: {fit} do",
        "more nodes, or workers.min of at most {fit}",
    ),
    Code.NODES_BOOTING: ("{nodes} nodes are on their way for it", "nothing: it starts when they are up"),
    Code.NODES_REFUSED: (
        "nodes of type {type} could not be had {failures} times",
        "the provider has some again; the next attempt is at {until}",
    ),
    Code.DEADLINE: (
        "its deadline cannot be met: the earliest end is {earliest}",
        "a later deadline, or less to do",
    ),
    Code.UNKNOWN_QUEUE: ("there is no queue {queue}", "the name of a queue that exists"),
    Code.OVER_QUEUE_LIMIT: (
        "it needs {needed} {kind}, and queue {queue} may use {limit} in all",
        "a smaller workers.min, or a higher limit",
    ),
    Code.OVER_USER_LIMIT: (
        "it needs {needed} {kind}, and each user may use {limit} in queue {queue}",
        "a smaller workers.min, or a higher limit",
    ),
    Code.PRIORITY: ("{job} has a higher priority", ""),
    Code.RECLAIM: ("queue {queue} takes back for {job} what was borrowed", ""),
    Code.SERVICE: ("{job} has had less so far", ""),
    Code.LOAN: ("{job} needs its minimum, and this was on loan", ""),
    Code.SPARE: ("nobody else needs it now", ""),
    Code.BALANCE: ("others speed up more by it", ""),
    Code.DRAIN: ("node {node} goes away", ""),
    Code.GANG: ("{job} needs them, all at once", ""),
    Code.IDLE: ("nothing has run there for {seconds} seconds", ""),
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Reason:
    """Why.

    Attributes:
        facts: the names in the code's sentence, and their values.
        eta: when it starts, if all estimates are right; None where that cannot be known.
    """

    code: Code
    facts: Mapping[str, Fact] = field(default_factory=dict)
    eta: float | None = None

    @property
    def sentence(self) -> str:
        """What is so."""
        return _WORDS[self.code][0].format(**self.facts)

    @property
    def remedy(self) -> str:
        """What would have to change; empty where nothing waits for a change."""
        return _WORDS[self.code][1].format(**self.facts)
