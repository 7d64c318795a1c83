"""The live jobs in memory: after the first look, only what has changed is read."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from orchestrator.store.records import JobRecord
from orchestrator.store.states import ENDED
from orchestrator.store.transaction import Transaction


class LiveJobs:
    """The jobs that are not over, as of the last `refresh`; begin with a new one after an UnreachableError.

    Attributes:
        jobs: id → record, in the order in which they were handed in.
    """

    def __init__(self) -> None:
        self._jobs: dict[str, JobRecord] = {}
        self._change: int | None = None
        self.jobs: Mapping[str, JobRecord] = MappingProxyType(self._jobs)

    def refresh(self, tx: Transaction) -> list[JobRecord]:
        """Read what is new; which jobs came, changed or ended since the last time, by their numbers.

        Args:
            tx: of `Database.reading`: what a writer sees may never be committed.

        Raises:
            ValueError: it is a writer's.
        """
        if tx.writing:
            raise ValueError("a mirror shows what is committed: refresh it in a block of Database.reading")
        if self._change is None:
            news, self._change = tx.jobs.live(), tx.jobs.newest_change()
        else:
            news, self._change = tx.jobs.changed_since(self._change)
        news.sort(key=lambda record: record.number)
        for record in news:
            if record.state in ENDED:
                self._jobs.pop(record.id, None)
            else:
                self._jobs[record.id] = record
        return news
