"""A worker: one engine in a thread of its own, told what to do and heard through an outbox.

Knows neither Ray nor pipes: `workers.actor` and `workers.processes` carry the messages.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import cast

from workers.blame import describe
from workers.errors import DamagedBlockError
from workers.numerics.exchange import PeerLost
from workers.orders import Orders
from workers.outbox import Outbox
from workers.protocol import Broken, Damaged, Failed, Memory, Order, Pulse, Report, TrainJob
from workers.reporter import Reporter
from workers.training.engine import Engine


class Worker:
    """One worker of a job.

    Args:
        worker_id: unique within the job; None for a standby, which builds all that it can and gets its name,
            and whom to replace, from `become`.
        job: what to train.
        node, node_id: the machine's name, for people, and what is unique about it.
        host: the address at which other workers reach this one.
        startup: seconds by phase, of what the process did before.
    """

    def __init__(
        self,
        worker_id: str | None,
        job: TrainJob,
        *,
        node: str,
        node_id: str,
        host: str,
        startup: Mapping[str, float] | None = None,
    ) -> None:
        self.outbox = Outbox()
        self._job, self._orders = job, Orders()
        self._reporter = Reporter(worker_id or "", self.outbox)
        self._engine = Engine(job, self._orders, self._reporter, node=node, node_id=node_id, host=host)
        self._startup: Mapping[str, float] = startup or {}
        self._named, self._built = threading.Event(), threading.Event()
        self._failure: BaseException | None = None
        if worker_id is not None:
            self._named.set()
        self._thread = threading.Thread(target=self._live, name="engine", daemon=True)

    def start(self) -> None:
        """Begin to build the recipe."""
        self._thread.start()

    def wait_built(self) -> None:
        """Return when all that can be built without a name is.

        Raises:
            Whatever building it raised.
        """
        if not self._needs_name_to_build:
            self._built.wait()
        if self._failure is not None:
            raise self._failure

    def become(self, worker_id: str) -> None:
        """Give a standby its name: from now on it is that worker, and reports."""
        self._startup = {}
        self._reporter.begin(worker_id)
        self._named.set()

    def tell(self, order: Order) -> None:
        """Pass an order to the engine; a newer generation ends what it does in an older one."""
        self._orders.apply(order)

    def pulse(self) -> Pulse:
        """What the engine is doing at this moment."""
        activity, seconds = self._reporter.stopwatch.current()
        return Pulse(activity=activity, seconds=seconds)

    def remember(self) -> Memory | None:
        """All that a supervisor that has never heard of this worker needs to know; None for a standby."""
        if not self._named.is_set():
            return None
        numbered = self.outbox.remembered()
        membership, hold = self._orders.newest()
        return Memory(
            worker=self._reporter.worker_id,
            membership=membership,
            hold=hold,
            events=tuple(cast(Report, event) for _, event in numbered),
            position=numbered[-1][0] if numbered else 0,
        )

    @property
    def _needs_name_to_build(self) -> bool:
        """Which GPU is its own is not known before."""
        return self._job.device == "cuda"

    def _build(self) -> None:
        if self._needs_name_to_build:
            self._named.wait()
        try:
            self._startup = {**self._startup, **self._engine.build()}
        except BaseException as error:  # told under a name, once there is one
            self._failure = error
        self._built.set()
        self._named.wait()

    def _live(self) -> None:
        self._build()
        try:
            if self._failure is not None:
                raise self._failure
            self._engine.announce(self._startup)
        except BaseException as error:  # whatever it is, the supervisor must hear of it
            self._reporter.report(Failed, **describe(error))
            return
        generation = -1
        while True:
            membership = self._orders.next_membership(after=generation)
            generation = membership.generation
            if self._reporter.worker_id not in membership.workers:
                continue  # left out: what it holds is kept until it is let go, or needed
            try:
                self._engine.train(membership)
            except PeerLost as error:
                self._reporter.report(
                    Broken,
                    generation=generation,
                    step=self._engine.step,
                    begun=self._engine.begun,
                    message=str(error),
                )
            except DamagedBlockError as error:
                self._report_damage(error, generation)
            except BaseException as error:
                self._engine.see_save_through(generation)
                self._reporter.report(Failed, **describe(error), step=self._engine.begun)

    def _report_damage(self, error: DamagedBlockError, generation: int) -> None:
        begun = self._engine.begun
        if not self._job.damaged_blocks:
            self._engine.see_save_through(generation)
            self._reporter.report(Failed, **describe(error), step=begun)
            return
        self._reporter.report(
            Damaged,
            generation=generation,
            step=self._engine.step,
            begun=begun,
            block=error.block,
            message=str(error),
        )
