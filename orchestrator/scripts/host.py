"""Keeps one script job: runs its supervisor in a thread, and answers whoever asks. From any thread."""

from __future__ import annotations

import threading
import time
import traceback
import uuid
from collections.abc import Callable, Mapping, Sequence
from queue import SimpleQueue

from orchestrator.exit_codes import FAILED
from orchestrator.gang.events import Resize, SaveNow, Wish
from orchestrator.gang.states import Outcome
from orchestrator.records.news import History, News
from orchestrator.scripts.books import ScriptBooks
from orchestrator.scripts.job import Policy, ScriptJob
from orchestrator.scripts.supervisor import Crew, Happening, ScriptSupervisor
from workers.errors import LockstepError
from workers.protocol import Fault
from workers.script.protocol import Recollection


class ScriptHost:
    """One script job, from its start to its end. The methods are those of `orchestrator.job_actor.JobActor`.

    Args:
        crew: called once, in the job's thread: whoever runs the ranks.
        workers, places: how many ranks it should have, and where.
        notes: what whoever started the job should know.
        submitted: seconds since the epoch.
        metrics_address: where the job's metrics can be scraped.
        number: of the order that it was started with; see `News.heeded`.
        adopt: called once, in the job's thread: the ranks that an earlier supervisor has left behind; None if
            there was none.
    """

    def __init__(
        self,
        job: ScriptJob,
        policy: Policy,
        crew: Callable[[], Crew],
        *,
        workers: int,
        places: Mapping[str, int] | None = None,
        notes: Sequence[str] = (),
        submitted: float,
        metrics_address: str | None = None,
        number: int = 0,
        adopt: Callable[[Crew], list[Recollection]] | None = None,
    ) -> None:
        self._job, self._policy, self._make_crew, self._adopt = job, policy, crew, adopt
        self._workers, self._places = workers, places
        self._incarnation = uuid.uuid4().hex
        self._history = History()
        self._books = ScriptBooks(job, submitted, self._history.add)
        if metrics_address is not None:
            self._books.served(metrics_address)
        for note in notes:
            self._books.note(note)
        self._inbox: SimpleQueue[Wish] = SimpleQueue()
        self._heeded = number
        self._crew: Crew | None = None
        self._supervisor: ScriptSupervisor | None = None
        self._outcome: Outcome | None = None
        self._over = threading.Event()
        threading.Thread(target=self._live, name="supervisor", daemon=True).start()

    def follow(self, incarnation: str, position: int, timeout: float) -> News:
        """What is new since a position in the history of an incarnation; waits for the first of it."""
        outcome = self._outcome  # before the entries: who hears of the end has heard of all before it
        known = position if incarnation == self._incarnation else 0
        entries, position = self._history.since(known, timeout)
        return News(
            incarnation=self._incarnation,
            entries=entries,
            position=position,
            view=self._books.view(time.time()),
            outcome=outcome,
            held=self._crew.held() if self._crew is not None else dict(self._places or {}),
            heeded=self._heeded,
        )

    def wish(self, wish: Wish) -> str | None:
        """What the job's owner wants; returns why that is not possible, if it is not."""
        job = self._job
        if isinstance(wish, Resize) and not job.workers_min <= wish.workers <= job.workers_max:
            return f"{wish.workers} workers are not between its {job.workers_min} and {job.workers_max}"
        if isinstance(wish, SaveNow):
            return "a script job saves its state by itself"
        self._inbox.put(wish)
        return None

    def nodes(self) -> dict[str, str]:
        """The cluster's nodes: id → name."""
        return self._crew.nodes() if self._crew is not None else {}

    def story(self) -> list[str]:
        """The latest transitions of the job's life, a line each."""
        return self._supervisor.story() if self._supervisor is not None else []

    def wait(self, timeout: float | None = None) -> bool:
        """Until the job is over and nothing of it is left; whether it is."""
        return self._over.wait(timeout)

    def happened(self, what: Happening) -> None:
        """See `orchestrator.scripts.supervisor.Observer`."""
        if isinstance(what, Resize):
            self._heeded = what.number

    def _live(self) -> None:
        try:
            outcome = self._run()
        except LockstepError as error:
            outcome = Outcome(done=False, exit_code=error.exit_code, fault=Fault.INPUT, message=str(error))
        except BaseException as error:  # it must be heard of: followers wait for the end
            text = "".join(traceback.format_exception(error))
            message = f"the supervisor failed: {type(error).__name__}: {error}"
            outcome = Outcome(done=False, exit_code=FAILED, fault=Fault.INTERNAL, message=message, trace=text)
        self._books.ended(outcome)
        if self._crew is not None:
            self._crew.close(clean=not outcome.stopped)
        self._outcome = outcome
        self._history.close()
        self._over.set()

    def _run(self) -> Outcome:
        self._crew = crew = self._make_crew()
        self._supervisor = supervisor = ScriptSupervisor(
            job=self._job,
            policy=self._policy,
            crew=crew,
            workers=self._workers,
            places=self._places,
            observers=[self._books, self],
            inbox=self._inbox,
        )
        memories = self._adopt(crew) if self._adopt is not None else None
        if memories is not None:
            self._books.note(f"the supervisor had to start again, and found {len(memories)} of its ranks")
            self._books.adopted(memories)
        return supervisor.run(memories)
