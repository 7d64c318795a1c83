"""One transaction: everything that is kept, by its kind."""

from __future__ import annotations

from sqlalchemy import Connection

from orchestrator.store.allocations import Allocations
from orchestrator.store.audit import Audit
from orchestrator.store.bundles import Bundles
from orchestrator.store.events import Events
from orchestrator.store.jobs import Jobs
from orchestrator.store.memory import Memory
from orchestrator.store.queues import Queues
from orchestrator.store.tokens import Tokens


class Transaction:
    """What a block of `Database.transaction` or `Database.reading` works with; no good after the block.

    Attributes:
        writing: whether it may change anything.
    """

    def __init__(self, connection: Connection, *, writing: bool) -> None:
        self.writing = writing
        self.jobs = Jobs(connection)
        self.events = Events(connection)
        self.allocations = Allocations(connection)
        self.queues = Queues(connection)
        self.tokens = Tokens(connection)
        self.audit = Audit(connection)
        self.memory = Memory(connection)
        self.bundles = Bundles(connection)
