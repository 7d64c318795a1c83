"""A worker: one engine in a thread of its own, told what to do and heard through an outbox.

Knows neither Ray nor pipes: `workers.actor` and `workers.processes` carry the messages.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Mapping
from typing import Any

from workers.errors import LockstepError, UnreachableError
from workers.numerics.exchange import PeerLost
from workers.outbox import Outbox
from workers.protocol import CheckpointCommitted, Failed, Fault, Membership, Order, TrainJob
from workers.reporter import Reporter
from workers.training.engine import Engine
from workers.training.recipes import in_user_code, user_trace

USER_FAILED, INTERNAL = 1, 1


class Worker:
    """One worker of a job.

    Args:
        worker_id: unique within the job.
        job: what to train.
        node: the machine's name, for people.
        host: the address at which other workers reach this one.
        startup: seconds by phase, of what the process did before.
    """

    def __init__(
        self,
        worker_id: str,
        job: TrainJob,
        *,
        node: str,
        host: str,
        startup: Mapping[str, float] | None = None,
    ) -> None:
        self.outbox = Outbox()
        self._memberships: queue.SimpleQueue[Membership] = queue.SimpleQueue()
        self._reporter = Reporter(worker_id, self.outbox)
        self._engine = Engine(job, self._reporter, node=node, host=host, startup=startup or {})
        self._thread = threading.Thread(target=self._live, name=f"engine-{worker_id}", daemon=True)

    def start(self) -> None:
        """Begin to build the recipe."""
        self._thread.start()

    def tell(self, order: Order) -> None:
        """Make this worker a member of a generation, once its recipe is built; or let its next save begin."""
        if isinstance(order, CheckpointCommitted):
            self._engine.committed(order.step)
        else:
            self._memberships.put(order)

    def _live(self) -> None:
        try:
            self._engine.build()
            self._engine.train(self._memberships.get())
        except BaseException as error:  # whatever it is, the supervisor must hear of it
            self._reporter.report(Failed, **_describe(error), step=self._engine.step)


def _describe(error: BaseException) -> dict[str, Any]:
    """How an error is told to the supervisor: class, words, and the user's frames if there are any."""
    if isinstance(error, PeerLost):
        return {"fault": Fault.PEER, "message": f"lost the connection to another worker: {error}"}
    if isinstance(error, LockstepError):
        fault = Fault.STORAGE if isinstance(error, UnreachableError) else Fault.INPUT
        trace = user_trace(error) if error.__cause__ is not None and in_user_code(error.__cause__) else None
        return {"fault": fault, "message": str(error), "trace": trace, "exit_code": error.exit_code}
    summary = f"{type(error).__name__}: {error}"
    if in_user_code(error):
        message = f"the recipe raised {summary}"
        return {"fault": Fault.USER, "message": message, "trace": user_trace(error), "exit_code": USER_FAILED}
    return {"fault": Fault.INTERNAL, "message": summary, "trace": user_trace(error), "exit_code": INTERNAL}
